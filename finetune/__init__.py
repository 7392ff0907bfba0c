"""Stage 2: few-shot fine-tuning of the registration network on sequential scans.

Not built yet; no command offers it.
"""
