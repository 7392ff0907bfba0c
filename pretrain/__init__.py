"""Stage 1: inter-patient pre-training of the registration network."""
