"""Red marrow of a patient: from a structure of the spine, and from a table of blood samples."""

import csv
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dosimetry.config import RedMarrowSettings
from dosimetry.kinetics import OrganFit, choose_model
from dosimetry.metrics.marrow import MarrowActivity, blood_ratio, cross_dose_gy, marrow_from_blood, marrow_from_image
from dosimetry.results import RedMarrow, StructureResult
from nufitdose.errors import InputError
from nufitdose.nuclides import chain_emissions, half_life_h
from nufitdose.types import F64

IMAGE, BLOOD = "red_marrow_image", "red_marrow_blood"
LOCAL = "local"  # the dose engine that follows no photons
Cross = tuple[float, float]  # dose from photons and its standard uncertainty, Gy
_UNKNOWN: Cross = (math.nan, math.nan)
_TIME, _VALUE, _U = "time_h", "bq_per_ml", "u_bq_per_ml"
_FEWEST = 3  # samples: two give a curve without a degree of freedom


@dataclass(frozen=True, eq=False)
class BloodSamples:
    """Hours after administration, whole-blood activity concentration at that time, Bq/mL, and its u where given."""

    times_h: F64
    bq_per_ml: F64
    u_bq_per_ml: F64 | None = None


def check_red_marrow(settings: RedMarrowSettings | None, structures: Collection[str]) -> None:
    """`InputError` where the structure is not of this study, or the table of blood samples cannot be read."""
    if settings is None:
        return
    if settings.structure is not None and settings.structure not in structures:
        raise InputError(
            f"metrics.red_marrow.structure names {settings.structure}, which is no structure of this study",
            remedy=f"Known here: {', '.join(structures) or 'none, as no structures are drawn'}",
        )
    if settings.blood is not None:
        read_blood(Path(settings.blood))


def red_marrow(
    settings: RedMarrowSettings | None, structures: Sequence[StructureResult], nuclide: str, engine: str
) -> tuple[RedMarrow, ...]:
    """What each method that was asked for says; `engine` is that of the dose."""
    if settings is None:
        return ()
    found = []
    spine = next((one for one in structures if one.name == settings.structure), None)
    cross = _cross_dose(spine, nuclide) if spine is not None and engine != LOCAL else _UNKNOWN
    if spine is not None:
        found.append(_from_image(settings, spine, nuclide, cross))
    if settings.blood is not None:
        found.append(_from_blood(settings, read_blood(Path(settings.blood)), nuclide, cross))
    return tuple(found)


def read_blood(path: Path) -> BloodSamples:
    """A csv with the columns `time_h`, `bq_per_ml` and, if known, `u_bq_per_ml`; `InputError` on anything else."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            names, rows = table.fieldnames or [], list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"the table of blood samples cannot be read: {error}", where=path) from error
    if missing := [name for name in (_TIME, _VALUE) if name not in names]:
        raise InputError(
            f"a table with the columns {', '.join(names) or '(none)'} was given, {' and '.join(missing)} is missing",
            where=path,
            remedy=f"Head the columns {_TIME} (hours after administration), {_VALUE} (whole blood, at that time) and, "
            f"if known, {_U}",
        )
    if len(rows) < _FEWEST:
        raise InputError(f"{len(rows)} blood samples were given, at least {_FEWEST} are wanted", where=path)
    columns = {name: _numbers(rows, name, path) for name in (_TIME, _VALUE, *([_U] if _U in names else []))}
    order = np.argsort(columns[_TIME], kind="stable")
    if not (np.diff(columns[_TIME][order]) > 0).all() or columns[_TIME].min() < 0:
        raise InputError("blood samples of one time, or before administration, were given", where=path)
    if _U in columns and not (columns[_U] > 0).all():
        raise InputError(f"a {_U} that is not above 0 was given", where=path)
    return BloodSamples(columns[_TIME][order], columns[_VALUE][order], columns[_U][order] if _U in columns else None)


def _numbers(rows: Sequence[dict[str, str]], name: str, path: Path) -> F64:
    found = []
    for line, row in enumerate(rows, start=2):
        try:
            value = float(row[name] or "")
        except (TypeError, ValueError):
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"line {line} has {row[name]!r} as {name}, a number from 0 on is wanted", where=path)
        found.append(value)
    return np.array(found)


def fit_blood(samples: BloodSamples, half_life_h: float) -> OrganFit:
    """One or two exponentials through the samples, as AICc weighs them; amplitudes and integral in 1e6 Bq/mL."""
    u = None if samples.u_bq_per_ml is None else 1e-6 * samples.u_bq_per_ml
    choice = choose_model(
        samples.times_h, 1e-6 * samples.bq_per_ml, half_life_h, u_activity_mbq=u, models=("mono", "bi")
    )
    return choice.fit


def _cross_dose(spine: StructureResult, nuclide: str) -> Cross:
    """Its uncertainty is that of the whole dose of the vertebra: an upper bound."""
    local = chain_emissions(nuclide).local_gy_g_per_mbq_h
    dose_gy = cross_dose_gy(spine.dose["dose_mean_gy"], spine.tia_mbq_h, spine.mass_g, local)
    return dose_gy, spine.budget.relative_u_dose * spine.dose["dose_mean_gy"]


def _from_image(settings: RedMarrowSettings, spine: StructureResult, nuclide: str, cross: Cross) -> RedMarrow:
    share = (settings.marrow_volume_fraction or math.nan) * (settings.cellularity or math.nan)
    found = marrow_from_image(
        spine.tia_mbq_h, spine.volume_ml, spine.budget.relative_u_dose, share, settings.u_share_percent / 100.0
    )
    basis = (
        f"{spine.name}: all its activity in red marrow, {settings.marrow_volume_fraction:g} (marrow) x "
        f"{settings.cellularity:g} (cellularity) of its volume, ± {settings.u_share_percent:g} %"
    )
    return _result(IMAGE, found, spine.curve.teff_h, settings, nuclide, basis, cross)


def _from_blood(settings: RedMarrowSettings, samples: BloodSamples, nuclide: str, cross: Cross) -> RedMarrow:
    fit = fit_blood(samples, half_life_h(nuclide))
    if not fit.tia_mbq_h > 0:
        raise InputError("the blood samples hold no activity", where=settings.blood)
    ratio = settings.blood_ratio if settings.blood_ratio is not None else blood_ratio(settings.hematocrit or math.nan)
    found = marrow_from_blood(
        fit.tia_mbq_h, fit.u_tia_mbq_h / fit.tia_mbq_h, ratio, settings.u_blood_ratio_percent / 100.0
    )
    source = "as given" if settings.blood_ratio is not None else f"0.19/(1 - {settings.hematocrit:g})"
    basis = (
        f"{samples.times_h.size} blood samples, {fit.model}, {100.0 * fit.extrapolated_fraction:.0f} % after the last; "
        f"marrow over blood {ratio:.3g} ({source}), ± {settings.u_blood_ratio_percent:g} %"
    )
    return _result(BLOOD, found, fit.teff_h, settings, nuclide, basis, cross)


def _result(
    method: str,
    found: MarrowActivity,
    teff_h: float,
    settings: RedMarrowSettings,
    nuclide: str,
    basis: str,
    cross: Cross,
) -> RedMarrow:
    dose_gy = found.self_dose_gy(chain_emissions(nuclide).local_gy_g_per_mbq_h)
    cross_gy, u_cross_gy = cross
    said = f"photons as {settings.structure} gets them" if math.isfinite(cross_gy) else "no photons in the dose"
    whole = math.nan if settings.mass_g is None else found.total_mbq_h(settings.mass_g)
    return RedMarrow(
        method=method,
        tia_mbq_h_per_ml=found.tia_mbq_h_per_ml,
        u_tia_mbq_h_per_ml=found.relative_u * found.tia_mbq_h_per_ml,
        teff_h=teff_h,
        dose_self_gy=dose_gy,
        u_dose_self_gy=found.relative_u * dose_gy,
        tia_mbq_h=whole,
        u_tia_mbq_h=found.relative_u * whole,
        dose_cross_gy=cross_gy,
        u_dose_cross_gy=u_cross_gy,
        dose_total_gy=dose_gy + cross_gy,
        u_dose_total_gy=math.hypot(found.relative_u * dose_gy, u_cross_gy),
        basis=f"{basis}; {said}",
    )
