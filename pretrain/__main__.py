"""`python -m pretrain CONFIG --out DIR`, also under torchrun."""

from nufitdose.training.entry import run_from_command_line
from pretrain.stage import run_pretrain

if __name__ == "__main__":
    run_from_command_line("pretrain", run_pretrain)
