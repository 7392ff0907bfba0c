"""Training of the registration network: whose scans, which pairs, how varied, the loop and its resumable state."""
