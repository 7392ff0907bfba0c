"""Engines on digital patients, judged by motion and activity: `python -m benchmarks.registration`.

For each moving scan: error over landmarks of organs, bones and tumours, non-diffeomorphic volume in the body, seconds
(`dosimetry.evaluation.motion`), and the mean excess of the activity of organs and tumours over that of perfect
registration (`dosimetry.evaluation.activity`). The engines elastix and elastix-tuned need the extra `baselines`.
"""

import argparse
import os
import time

import numpy as np

from dosimetry.evaluation.activity import activity_excess_percent
from dosimetry.evaluation.motion import Method, judge_field
from nufitdose.anatomy.body import body_mask
from nufitdose.device import resolve_device
from nufitdose.io.truth import Landmarks
from nufitdose.phantom import DigitalPatient, PatientSettings, simulate_patient
from nufitdose.registration.field import DisplacementField


def judge_patient(patient: DigitalPatient, name: str) -> dict[str, float]:
    """Means over the moving scans of one patient."""
    study, truth, method = patient.study, patient.truth, Method.of(name)
    fixed = study.reference
    grid, marks = fixed.activity.grid, landmarks_of(patient)
    inside = body_mask(fixed).resampled_to(grid).data > 0.5
    rows = []
    for moving in study.timepoints[1:]:
        start, busy = time.perf_counter(), time.process_time()
        field = method.engine.run(method.request(fixed, moving, grid, resolve_device("cpu")))
        seconds, busy_s = time.perf_counter() - start, time.process_time() - busy
        score = judge_field(field, fixed, moving, marks, inside)
        exact = DisplacementField(truth.timepoint(moving.id).field, truth.timepoint(moving.id).grid)
        excess = activity_excess_percent(field, exact, moving.activity, truth.labels, truth.names)
        organs = [value for name, value in excess.items() if name not in truth.tumours]
        tumours = [value for name, value in excess.items() if name in truth.tumours]
        means = {"organ activity %": np.mean(organs), "tumour activity %": np.mean(tumours) if tumours else np.nan}
        rows.append(score | means | {"wall s": seconds, "CPU s": busy_s})
    return {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}


def landmarks_of(patient: DigitalPatient) -> Landmarks:
    """The landmarks of a digital patient by time point, those of the reference among them."""
    moving = [tp.id for tp in patient.study.timepoints if tp.id != patient.study.reference_id]
    by_scan = {name: [m for m in patient.truth.landmarks if m.timepoint == name] for name in moving}
    points = {name: np.array([m.moving_mm for m in marks]) for name, marks in by_scan.items()}
    first = by_scan[moving[0]]
    points[patient.study.reference_id] = np.array([m.fixed_mm for m in first])
    return Landmarks(points, tuple(m.structure for m in first))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seeds", default="501,502,503")
    arguments.add_argument("--engines", default="none,rigid,refine,nufit,elastix,elastix-tuned")
    arguments.add_argument("--times", default="4,24,96")
    arguments.add_argument("--voxels", type=int, default=80)
    arguments.add_argument("--spacing", type=float, default=4.8)
    given = arguments.parse_args()
    table: dict[str, list[dict[str, float]]] = {name: [] for name in given.engines.split(",")}
    for seed in (int(s) for s in given.seeds.split(",")):
        patient = simulate_patient(
            PatientSettings(
                times_h=[float(t) for t in given.times.split(",")],
                shape=(given.voxels,) * 3,
                spacing_mm=given.spacing,
                seed=seed,
            )
        )
        for name, rows in table.items():
            rows.append(judge_patient(patient, name))
            print(seed, name, {k: round(v, 3) for k, v in rows[-1].items()}, flush=True)
    print(f"mean ± standard deviation over {len(next(iter(table.values())))} patients, {os.cpu_count()} CPUs")
    for name, rows in table.items():
        cells = [f"{k} {np.mean([r[k] for r in rows]):.2f} ± {np.std([r[k] for r in rows]):.2f}" for k in rows[0]]
        print(f"{name:16s} " + "   ".join(cells))


if __name__ == "__main__":
    main()
