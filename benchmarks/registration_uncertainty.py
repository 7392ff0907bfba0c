"""The uncertainty of a registration against true errors: `python -m benchmarks.registration_uncertainty FIT JUDGE`.

FIT and JUDGE are folders of digital patients. The constants of `nufitdose.registration.uncertainty` are fitted to
the errors that the engines leave on FIT (Student's t of four degrees of freedom: errors have long tails) and judged on
JUDGE: how often a component of the error lies within one and two u, and the rank correlation of u with the error.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.stats import spearmanr

from dosimetry.evaluation.methods import methods_of, true_field
from nufitdose import load_study
from nufitdose.device import resolve_device
from nufitdose.io.study_folder import MANIFEST
from nufitdose.registration.uncertainty import CALIBRATION, Calibration, gather_evidence, uncertainty_of

_EVERY = 7  # voxel of the body: neighbours say the same
_DOF = 4.0


@dataclass(frozen=True, eq=False)
class Errors:
    """What one engine left on one pair: precision and bending (see `Evidence`) and errors `[3, voxels]`, mm."""

    engine: str
    precision: np.ndarray
    bending_mm: np.ndarray
    error_mm: np.ndarray

    def u_mm(self, calibration: Calibration) -> np.ndarray:
        return uncertainty_of(self.precision, self.bending_mm, calibration).astype(np.float64)


def errors_of(folder: Path, engines: list[str]) -> Iterator[Errors]:
    """Of every moving scan of a digital patient."""
    study = load_study(folder)
    fixed, grid = study.reference, study.reference.activity.grid
    for moving in study.timepoints:
        if moving is fixed:
            continue
        true = true_field(folder, moving.id)
        for method in methods_of(engines):
            field = method.find_field(folder, fixed, moving, grid, resolve_device("cpu"), method.load_network())
            found = gather_evidence(fixed, moving, field)
            counted = np.flatnonzero(found.inside & true.on(found.grid).inside(moving.activity.grid))[::_EVERY]
            error_mm = (field.on(found.grid).data - true.on(found.grid).data).reshape(3, -1)[:, counted]
            precision, bending = found.precision.reshape(6, -1), found.bending_mm.reshape(-1)
            yield Errors(method.name, precision[:, counted], bending[counted], error_mm.astype(np.float64))


def fit_calibration(rows: list[Errors]) -> Calibration:
    """The constants under which the errors are likeliest."""

    def unlikeliness(logs: np.ndarray) -> float:
        total = 0.0
        for row in rows:
            u = row.u_mm(Calibration(*np.exp(logs)))
            tails = (_DOF + 1) / 2 * np.log1p((row.error_mm / u) ** 2 / _DOF)
            total += float((3 * np.log(u) + tails.sum(axis=0)).mean())
        return total

    start = np.log([CALIBRATION.information, CALIBRATION.spread_mm, CALIBRATION.bending])
    return Calibration(*np.exp(minimize(unlikeliness, start, method="Nelder-Mead", options={"maxiter": 200}).x))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("fit", type=Path)
    arguments.add_argument("judge", type=Path)
    arguments.add_argument("--engines", default="rigid,network,refine,nufit")
    given = arguments.parse_args()
    engines = given.engines.split(",")
    fitted, judged = (
        [row for file in sorted(place.glob(f"*/{MANIFEST}")) for row in errors_of(file.parent, engines)]
        for place in (given.fit, given.judge)
    )
    found = fit_calibration(fitted)
    print(f"in use {CALIBRATION}\nfitted {found}")
    print("| engine | within u, % | within 2 u, % | mean u, mm | rms error of a component, mm | rank correlation |")
    print("|---|---|---|---|---|---|")
    for name in engines:
        own = [row for row in judged if row.engine == name]
        u = np.concatenate([row.u_mm(CALIBRATION) for row in own])
        error = np.concatenate([row.error_mm for row in own], axis=1)
        within = [100 * float((np.abs(error) < n * u).mean()) for n in (1, 2)]
        rms, size = np.sqrt((error**2).mean()), np.sqrt((error**2).mean(axis=0))
        rank = float(spearmanr(u, size)[0])
        print(f"| {name} | {within[0]:.0f} | {within[1]:.0f} | {u.mean():.2f} | {rms:.2f} | {rank:.2f} |", flush=True)


if __name__ == "__main__":
    main()
