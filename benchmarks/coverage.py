"""How often truth lies within stated intervals: python -m benchmarks.coverage [still] [check] [moving] [fresh] [drawn].

Ã and mean dose of structures of digital patients against what the same dose engine makes of the true Ã in the same
voxels; what dose engines differ by is left out of the stated u, since here they do not. The scanner's widths are known
exactly, and said to be; with `drawn` each patient's are wrong by a factor e^(u z), u what a description counts with
that does not say how well it is known, z over all patients of a kind the quantiles of a normal distribution. `still`:
patients that do not move, engine none, on which the sizes of u(R) were chosen; `check`: others that served nothing;
`moving`, and `fresh`, which served nothing: with the default engine. Two tracers in turn (with motion: DOTATATE),
4.8 mm, CT of 2.4 mm, tumours of 14 to 50 mm.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from dosimetry.config import DosimetrySettings
from dosimetry.dose import absorbed_dose
from dosimetry.metrics import dose_volume_metrics
from dosimetry.pipeline import analyse
from dosimetry.recovery.resolution import U_OF_PATIENTS
from dosimetry.uncertainty.budget import ENGINE, interval
from nufitdose.anatomy.prepared import prepare_anatomy
from nufitdose.phantom import DigitalPatient, PatientSettings, simulate_patient
from nufitdose.progress import Steps
from nufitdose.study import Study

COUNTS = {"still": 8, "check": 15, "moving": 4, "fresh": 8}
SEEDS = {"still": 924_000, "check": 971_000, "moving": 960_000, "fresh": 973_000}
MOVING = ("moving", "fresh")
DRAWN = "drawn"
TRACERS = ("Lu-177-DOTATATE", "Lu-177-PSMA")
SMALL_ML = 2.0


@dataclass(frozen=True)
class Judged:
    """One structure: its size, and of Ã and mean dose found over true and the stated relative u."""

    name: str
    role: str
    volume_ml: float
    tia: tuple[float, float]
    dose: tuple[float, float]
    parts: dict[str, float]


def patient(kind: str, number: int) -> DigitalPatient:
    return simulate_patient(
        PatientSettings(
            tracer=TRACERS[0 if kind in MOVING else number % 2],
            shape=(76, 60, 80),
            spacing_mm=4.8,
            ct_spacing_mm=2.4,
            tumours=6 if kind in MOVING else 8,
            tumour_mm=(14.0, 50.0),
            seed=SEEDS[kind] + number,
            motion=1.0 if kind in MOVING else 0.0,
        )
    )


def describe_wrongly(study: Study, kind: str, number: int) -> Study:
    """The study with the widths of its scanner's description off by as much as one counts with that does not say."""
    order = np.random.default_rng(SEEDS[kind]).permutation(COUNTS[kind])
    factor = math.exp(U_OF_PATIENTS * float(ndtri((order[number] + 0.5) / COUNTS[kind])))
    scanner = study.scanner
    assert scanner is not None
    assert scanner.by_depth is not None
    shallow, deep = (replace(at, fwhm_mm=_scaled(at.fwhm_mm, factor)) for at in scanner.by_depth)
    widths = {"fwhm_mm": _scaled(scanner.fwhm_mm, factor), "by_depth": (shallow, deep), "u_fwhm_percent": None}
    return replace(study, scanner=replace(scanner, **widths))


def _scaled(fwhm_mm: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    i, j, k = (factor * width for width in fwhm_mm)
    return i, j, k


def judge(digital: DigitalPatient, settings: DosimetrySettings) -> Iterator[Judged]:
    """Run the patient and compare every structure with the truth in its own voxels."""
    results = analyse(digital.study, settings, Steps(1.0, None))
    truth = digital.truth
    anatomy = prepare_anatomy(truth.ct, truth.tia.grid)
    true_dose = absorbed_dose(truth.tia, nuclide=digital.study.nuclide, ct=anatomy).dose
    for found in results.structures:
        region = found.region
        erring = [part for part in found.budget.parts if part.name != ENGINE]
        true = dose_volume_metrics(region.values(true_dose), region.part_ml, region.values(anatomy.density))
        yield Judged(
            found.name,
            found.role,
            found.volume_ml,
            (found.tia_mbq_h / (1e-6 * region.integral(truth.tia)), found.budget.relative_u_tia),
            (found.dose["dose_mean_gy"] / true["dose_mean_gy"], math.sqrt(sum(part.dose**2 for part in erring))),
            {part.name: part.dose for part in found.budget.parts},
        )


def row(name: str, pairs: list[tuple[float, float]]) -> None:
    if not pairs:
        return
    ratio, u = np.array(pairs).T
    inside = []
    for level in (0.6827, 0.95):
        ends = np.array([interval(r, v, level) for r, v in pairs])
        inside.append(np.mean((ends[:, 0] <= 1.0) & (ends[:, 1] >= 1.0)))
    print(
        f"{name:28}{len(pairs):6d}{inside[0]:8.2f}{inside[1]:8.2f}{np.median(ratio) - 1:+10.1%}"
        f"{np.sqrt(np.mean((ratio - 1) ** 2)):8.1%}{np.median(u):8.1%}",
        flush=True,
    )


def report(kind: str, judged: list[Judged]) -> None:
    print(f"{kind:28}{'n':>6}{'68 %':>8}{'95 %':>8}{'median':>10}{'rms':>8}{'u':>8}")
    for role in ("organ", "tumour"):
        mine = [j for j in judged if j.role == role]
        row(f"{role}s, TIA", [j.tia for j in mine])
        row(f"{role}s, mean dose", [j.dose for j in mine])
    tumours = [j for j in judged if j.role == "tumour"]
    row("tumours >= 2 mL, mean dose", [j.dose for j in tumours if j.volume_ml >= SMALL_ML])
    row("tumours < 2 mL, mean dose", [j.dose for j in tumours if j.volume_ml < SMALL_ML])
    for name in sorted({j.name for j in judged if j.role == "organ"}):
        row(f"  {name}, mean dose", [j.dose for j in judged if j.name == name])


def main(words: list[str]) -> None:
    drawn = DRAWN in words
    for kind in [word for word in words if word != DRAWN] or list(COUNTS):
        registration = {} if kind in MOVING else {"engine": "none"}
        settings = DosimetrySettings.model_validate({"registration": registration})
        judged: list[Judged] = []
        for number in range(COUNTS[kind]):
            digital = patient(kind, number)
            if drawn:
                digital = replace(digital, study=describe_wrongly(digital.study, kind, number))
            judged += judge(digital, settings)
        report(kind, judged)


if __name__ == "__main__":
    main(sys.argv[1:])
