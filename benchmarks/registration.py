"""Engines and peers on digital patients that no training has seen: `python -m benchmarks.registration OUT`.

Simulates the patients below OUT/cohort (what is there is kept), judges every engine that is installed
(`dosimetry.evaluation`; a stopped run goes on), and with `--page` rewrites docs/reference/benchmark.md. Bodies are the
ICRP 110 man and a real CT with organs, taken in turn, where `NUFITDOSE_DATA` names the folder that holds them, else
those of this program by seeds that no training had; tracers are I-131 and Lu-177 in turn.
"""

import argparse
import json
import os
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from dosimetry.evaluation.methods import methods_of
from dosimetry.evaluation.run import BOXES, Evaluation, EvaluationPlan, run_evaluation
from nufitdose.errors import InputError
from nufitdose.io.nifti import load_volume
from nufitdose.phantom import PatientSettings, simulate_patient, write_patient
from nufitdose.phantom.icrp110 import read_icrp110
from nufitdose.phantom.settings import LabelledImages
from nufitdose.registration.engines.registry import ENGINES
from nufitdose.volume import Quantity

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURE = DOCS / "reference" / "benchmark.md", DOCS / "images" / "benchmark_registration.png"
TRACERS = {"I-131": (6.0, 30.0, 96.0), "Lu-177-DOTATATE": (4.0, 24.0, 96.0)}
_FIRST_SEED = 31  # no training began here
_CROPPED_SLICES = 82  # of the abdominal CT below its cropped label map


@dataclass(frozen=True, eq=False)
class Body:
    """Where patients come from; `centre_z_mm` is the middle of the view where the tracer's own would lie beyond."""

    name: str
    images: LabelledImages | None = None
    centre_z_mm: float | None = None


def bodies() -> list[Body]:
    """The real and the reference anatomy where their files are there, else this program's own."""
    folder = os.environ.get("NUFITDOSE_DATA")
    if not folder or not (Path(folder) / "icrp110_am").is_dir():
        return [Body("built")]
    return [
        Body("icrp", LabelledImages(*read_icrp110(Path(folder) / "icrp110_am"))),
        Body("ct", _abdomen(Path(folder) / "totalseg_ct"), 40.0),
    ]


def _abdomen(folder: Path) -> LabelledImages:
    """A real abdominal CT with its vertebrae, and the organs of its upper part."""
    ct = load_volume(folder / "abdomen_pelvis_ct_3mm.nii.gz", Quantity.HU)
    vertebrae = load_volume(folder / "abdomen_pelvis_vertebrae_3mm.nii.gz", Quantity.LABELS)
    organs = load_volume(folder / "abdomen_crop_seg_3mm.nii.gz", Quantity.LABELS).data
    labels = np.array(vertebrae.data)
    upper = labels[:, :, _CROPPED_SLICES:]
    labels[:, :, _CROPPED_SLICES:] = np.where(organs > 0, organs, upper)
    names = json.loads((folder / "labels.json").read_text())["names"]
    return LabelledImages(vertebrae.with_data(labels), {int(label): name for label, name in names.items()}, ct)


def simulate(folder: Path, patients: int, shape: tuple[int, ...], spacing_mm: float) -> None:
    """Patients that are not there yet: bodies and tracers in turn."""
    known, tracers = bodies(), list(TRACERS)
    for number in range(patients):
        body, tracer = known[number % len(known)], tracers[(number + number // 2) % len(tracers)]
        name = f"{body.name}_{tracer.split('-')[0].lower()}{tracer.split('-')[1]}_{number + 1:02d}"
        if (folder / name).is_dir():
            continue
        print(f"simulating {name}", file=sys.stderr, flush=True)
        settings = PatientSettings(
            tracer=tracer,
            times_h=TRACERS[tracer],
            shape=shape,
            spacing_mm=spacing_mm,
            seed=_FIRST_SEED + number,
            images=body.images,
            centre_z_mm=body.centre_z_mm,
            tumours=4,
            tumour_mm=(14.0, 40.0),
            patient=name,
        )
        write_patient(simulate_patient(settings), folder / name)


def installed(names: list[str]) -> list[str]:
    """Those that can run here; the others are named and left out."""
    kept = []
    for name in names:
        try:
            if name in ENGINES:
                ENGINES[name].check_installed()
            kept.append(name)
        except InputError as error:
            print(f"left out: {error}", file=sys.stderr)
    return kept


def write_page(found: Evaluation, picture: Path, conditions: str) -> None:
    """docs/reference/benchmark.md and its picture."""
    pairs = [row for score in found.scores for row in score.pairs]
    patients = sorted({row.patient for row in pairs})
    each = len({(row.patient, row.moving) for row in pairs})
    PICTURE.write_bytes(picture.read_bytes())
    PAGE.write_text(
        f"""# Engines and peers in one run

Written by `make bench-registration` ({datetime.now(UTC):%Y-%m-%d}); do not edit.
{len(patients)} digital patients that no training has seen ({", ".join(patients)};
the ICRP man took part in no training, the real CT, `ct`, with other motions in that of the network: `refine` has none),
{each} pairs, every method on all of them; mean ± standard deviation over patients. {conditions}

`exact` is the true motion: what it leaves is noise and blur of the scanner. "Beside exact" is how far the value of a
structure lies from what the exact motion gives, in percent of that: what the registration alone does to it.
Errors of structures are absolute, in percent of the truth; a true dose below 5 % of the structure's mean (a structure
cut by the view, or reaching into air) has no error in percent. A TAC-fit RMSE below that of `exact` is fitted noise,
not a better registration. p is that of Wilcoxon's signed-rank test over patients (two-sided; with n patients it cannot
fall below 2 / 2ⁿ, {2 / 2 ** len(patients):.3g} here), the effect the matched-pairs rank-biserial correlation: -1 where
ours is lower in every patient, 1 where it is higher in every one.

{found.page()}

![Errors by method, one point a patient](../images/{PICTURE.name})
""",
        encoding="utf-8",
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--patients", type=int, default=12)
    arguments.add_argument("--engines", default=",".join(("exact", *ENGINES)))
    arguments.add_argument("--ours", default="nufit")
    arguments.add_argument("--voxels", default="88,72,80")
    arguments.add_argument("--spacing", type=float, default=4.0)
    arguments.add_argument("--workers", type=int, default=1)
    arguments.add_argument("--conditions", default="", help="a sentence on the machine, for the page")
    arguments.add_argument("--page", action="store_true", help="rewrite the page of the documentation")
    given = arguments.parse_args()
    shape = tuple(int(n) for n in given.voxels.split(","))
    simulate(given.out / "cohort", given.patients, shape, given.spacing)
    methods = methods_of(installed(given.engines.split(",")))
    plan = EvaluationPlan(methods, split="all", workers=given.workers, ours=given.ours, device="cpu")
    found = run_evaluation(given.out / "cohort", given.out / "evaluation", plan, stream=sys.stderr)
    print(found.page())
    if given.page:
        size = " x ".join(str(n) for n in shape)
        machine = f"{size} voxels of {given.spacing:g} mm, {os.cpu_count()} CPUs ({platform.machine()})."
        write_page(found, given.out / "evaluation" / BOXES, f"{machine} {given.conditions}".strip())


if __name__ == "__main__":
    main()
