"""`python -m finetune CONFIG --out DIR`, also under torchrun."""

from finetune.stage import run_finetune
from nufitdose.training.entry import run_from_command_line

if __name__ == "__main__":
    run_from_command_line("finetune", run_finetune)
