"""Methods compared over patients: means, the same patients paired, and whether a difference is more than chance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from dosimetry.evaluation.downstream import StructureScore
from dosimetry.evaluation.methods import EXACT
from dosimetry.evaluation.motion import mean_known
from dosimetry.evaluation.patient import PairScore
from nufitdose.types import F64


@dataclass(frozen=True)
class Measure:
    """What is compared: a column of pairs or structures; `role` picks structures, `of` prepares the value.

    `beside_exact` is how far the value of a structure lies from what the exact field gives there, in percent of that:
    noise and blur, which no registration mends, are in both and do not count. Lower is better unless `higher` says
    otherwise; `context` measures are shown and not tested.
    """

    name: str
    column: str
    unit: str
    role: str = ""
    of: Callable[[float], float] = float
    beside_exact: bool = False
    higher: bool = False
    context: bool = False


def _both(name: str, column: str, role: str) -> tuple[Measure, Measure]:
    """An absolute error of structures, and the part of it that the registration makes."""
    return (
        Measure(f"{name}, {role}s", column, "%", role, abs),
        Measure(f"{name}, {role}s, beside exact", column, "%", role, beside_exact=True),
    )


MEASURES = (
    Measure("seconds a pair", "seconds", "s"),
    Measure("peak memory", "memory_mb", "MB"),
    Measure("TRE organs", "organ_mm", "mm"),
    Measure("TRE tumours", "tumour_mm", "mm"),
    Measure("TRE bones", "bone_mm", "mm"),
    Measure("TRE lungs", "lung_mm", "mm"),
    Measure("field error", "field_mm", "mm"),
    Measure("Dice", "dice", "", higher=True),
    Measure("HD95", "hd95_mm", "mm"),
    Measure("folding", "folding_percent", "%"),
    Measure("NDV", "ndv_percent", "%"),
    Measure("SD log J", "sd_log_jacobian", "", context=True),
    Measure("inverse consistency", "inverse_consistency_mm", "mm", context=True),
    Measure("SSIM", "ssim", "", higher=True, context=True),
    Measure("wSSIM", "wssim", "", higher=True, context=True),
    Measure("LNCC", "lncc", "", higher=True, context=True),
    Measure("NMI", "nmi", "", higher=True, context=True),
    *(m for role in ("tumour", "organ") for m in _both("TIA error", "tia_percent", role)),
    *(m for role in ("tumour", "organ") for m in _both("mean dose error", "dose_mean_percent", role)),
    *(m for role in ("tumour", "organ") for m in _both("D2% error", "d2_percent", role)),
    *(m for role in ("tumour", "organ") for m in _both("D98% error", "d98_percent", role)),
    Measure("TAC-fit RMSE, tumours", "tac_rmse_percent", "%", "tumour", context=True),
    Measure("TAC-fit RMSE, organs", "tac_rmse_percent", "%", "organ", context=True),
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """One measure of one method over patients, and beside `ours` on the same patients.

    `mean`, `sd` and `median` are over the patients' means. `difference` is the mean of ours minus this method,
    `p` that of Wilcoxon's signed-rank test (two-sided), `effect` the matched-pairs rank-biserial correlation: -1 where
    ours is lower in every patient, 1 where it is higher in every one. NaN where there is nothing to pair.
    """

    measure: str
    unit: str
    method: str
    patients: int
    mean: float
    sd: float
    median: float
    difference: float
    p: float
    effect: float
    better: str


def patient_values(
    measure: Measure, pairs: Sequence[PairScore], structures: Sequence[StructureScore]
) -> dict[str, dict[str, float]]:
    """Method -> patient -> the patient's mean; structures of its role only."""
    rows: Sequence[Any] = [s for s in structures if s.role == measure.role] if measure.role else pairs
    exact: dict[tuple[str, str], float] = {}
    if measure.beside_exact:
        exact = {(s.patient, s.structure): getattr(s, measure.column) for s in structures if s.method == EXACT}
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        value = getattr(row, measure.column)
        if measure.beside_exact:
            if row.method == EXACT:
                continue
            value = _departure_percent(value, exact.get((row.patient, row.structure), np.nan))
        found.setdefault(row.method, {}).setdefault(row.patient, []).append(measure.of(value))
    return {method: {p: mean_known(v) for p, v in by.items()} for method, by in found.items()}


def _departure_percent(error_percent: float, exact_percent: float) -> float:
    """How far apart two values are whose errors in percent of one truth are these, in percent of the second."""
    kept = 100.0 + exact_percent
    return 100.0 * abs(error_percent - exact_percent) / kept if kept > 0 else np.nan


def compare(
    pairs: Sequence[PairScore], structures: Sequence[StructureScore], ours: str, measures: Sequence[Measure] = MEASURES
) -> list[Comparison]:
    """Every measure of every method, in their order; measures that nobody knows are left out."""
    rows = []
    for measure in measures:
        values = patient_values(measure, pairs, structures)
        if not any(np.isfinite(list(by.values())).any() for by in values.values()):
            continue
        for method, by in values.items():
            own = np.array([v for v in by.values() if np.isfinite(v)])
            difference, p, effect = (np.nan,) * 3
            if method != ours and ours in values and not measure.context:
                difference, p, effect = paired_test(values[ours], by)
            rows.append(
                Comparison(
                    measure=measure.name,
                    unit=measure.unit,
                    method=method,
                    patients=own.size,
                    mean=float(own.mean()) if own.size else np.nan,
                    sd=float(own.std(ddof=1)) if own.size > 1 else np.nan,
                    median=float(np.median(own)) if own.size else np.nan,
                    difference=difference,
                    p=p,
                    effect=effect,
                    better=_verdict(difference, measure),
                )
            )
    return rows


def paired_test(ours: dict[str, float], other: dict[str, float]) -> tuple[float, float, float]:
    """Mean difference ours - other over the patients that both have, p of Wilcoxon, rank-biserial correlation."""
    shared = [name for name in ours if name in other and np.isfinite(ours[name]) and np.isfinite(other[name])]
    d: F64 = np.array([ours[name] - other[name] for name in shared])
    if not d.size:
        return (np.nan,) * 3
    if not d.any():
        return 0.0, 1.0, 0.0
    kept = d[d != 0]
    ranks = np.argsort(np.argsort(np.abs(kept))) + 1.0
    for size in np.unique(np.abs(kept)):
        ranks[np.abs(kept) == size] = ranks[np.abs(kept) == size].mean()
    effect = float((np.sign(kept) * ranks).sum() / ranks.sum())
    return float(d.mean()), float(wilcoxon(kept, method="auto").pvalue), effect


def _verdict(difference: float, measure: Measure) -> str:
    if not np.isfinite(difference) or difference == 0:
        return ""
    return "ours" if (difference > 0) == measure.higher else "other"
