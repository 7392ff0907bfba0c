"""Stage 1: inter-patient pre-training of the registration network.

Not built yet; no command offers it.
"""
