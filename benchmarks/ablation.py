"""What each part of the network and of its training brings: `python -m benchmarks.ablation COHORT OUT`.

Every row is trained for the same number of pairs at the same size and spacing and judged on the test patients of the
cohort. What is done already is kept: a stopped run goes on where it was. `--rows` trains only the rows named.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from dosimetry.evaluation.methods import methods_of
from dosimetry.evaluation.run import EvaluationPlan, run_evaluation
from finetune.stage import run_finetune
from nufitdose.training.request import RunRequest
from pretrain.stage import run_pretrain

SMALL = {"size": "tiny", "working_spacing_mm": 6.0}
#: What differs from the full network: trained within patients, with the CT-guided weight, unsupervised.
ROWS: dict[str, dict[str, Any]] = {
    "U-Net encoders": {"network": {"encoder": "unet"}},
    "one stream, CT": {"network": {"streams": "ct"}},
    "one stream, activity": {"network": {"streams": "activity"}},
    "no cross-stitch": {"network": {"cross_stitch": False}},
    "displacement": {"network": {"field": "displacement"}},
    "one pass": {"network": {"passes": 1}},
    "full, CT-guided, fine-tuned only": {},
    "uniform weight": {"objective": {"guide": "uniform"}},
    "permuted weight": {"objective": {"guide": "permuted"}},
    "learned weight": {
        "network": {"weight_head": "beta"},
        "objective": {"guide": "uniform", "relaxation": "beta"},
    },
    "CT-guided and learned": {"network": {"weight_head": "beta"}, "objective": {"relaxation": "beta"}},
}
PRETRAINED, BOTH = "pretrained only", "pretrained and fine-tuned"


def settings(cohort: Path, out: Path, steps: int, changes: dict[str, Any]) -> dict[str, Any]:
    """A configuration of either stage."""
    return {
        "data": {"cohort": str(cohort), "prepared": str(out / "prepared"), "validation_pairs": 8, "workers": 0},
        "network": {**SMALL, **changes.get("network", {})},
        "objective": changes.get("objective", {}),
        "augmentation": {"affine_log_scale": 0.0, "inversion": 0.0, "crop": 0.05},
        "loop": {
            "steps": steps,
            "learning_rate": 1e-3,
            "stitch_rate": 10.0,
            "schedule": "cosine",
            "warmup_steps": 20,
            "ema_decay": 0.98,
            "validate_every": steps,
            "save_every": 50,
        },
    }


def trained(stage: Any, name: str, content: dict[str, Any], out: Path) -> Path:
    """The weights of a row, trained unless they are there."""
    folder = out / name.replace(" ", "_").replace(",", "")
    if not (folder / "weights.safetensors").is_file():
        path = out / f"{folder.name}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        print(f"--- {name}", flush=True)
        resume = (folder / "run.json").is_file()
        stage(RunRequest(path, folder, resume=resume, device="cpu", stream=sys.stderr))
    return folder / "weights.safetensors"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("cohort", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--steps", type=int, default=300, help="pairs that every row is trained on")
    arguments.add_argument("--rows", nargs="+", help="all by default, and then the table")
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = given.rows or [*ROWS, PRETRAINED, BOTH]
    weights = {}
    for name in rows:
        if name in ROWS:
            content = settings(given.cohort, given.out, given.steps, ROWS[name])
            weights[name] = trained(run_finetune, name, {"start": "scratch", **content}, given.out)
        elif name == PRETRAINED:
            weights[name] = trained(run_pretrain, name, settings(given.cohort, given.out, given.steps, {}), given.out)
        else:
            half = settings(given.cohort, given.out, given.steps // 2, {})
            start = trained(run_pretrain, "half pretrained", half, given.out)
            weights[name] = trained(run_finetune, name, {"start": str(start), **half}, given.out)
    if not given.rows:
        plan = EvaluationPlan(methods_of(("rigid", "none", "affine"), weights), downstream=False, device="cpu")
        print(run_evaluation(given.cohort, given.out / "evaluation", plan, stream=sys.stderr).page())


if __name__ == "__main__":
    main()
