"""Doses and BED of several cycles added, with their uncertainties. Pure functions.

D = Σ_i D_i and BED = Σ_i BED_i: what the cells repair between cycles weeks apart is in the BED of each, and what grows
again is not counted. EQD2 = BED/(1 + 2 Gy/(α/β)).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dosimetry.cycles.values import CycleDose
from dosimetry.metrics.radiobiology import eqd2
from dosimetry.uncertainty.budget import RECOVERY

#: Causes that err alike in every cycle: one scanner, one structure of one size, one set of S values. Curve, noise,
#: motion, scan and outline are each cycle's own.
COMMON = ("calibration", RECOVERY, "dose engine")
_NOT_KNOWN = float("nan")


@dataclass(frozen=True)
class Sum:
    """A structure over the cycles, Gy; NaN where a cycle does not know it. `missing` names the cycles without it."""

    role: str
    cycles: int
    missing: tuple[str, ...]
    dose_mean_gy: float
    u_dose_mean_gy: float
    bed_mean_gy: float
    u_bed_mean_gy: float
    eqd2_mean_gy: float
    u_eqd2_mean_gy: float
    alpha_beta_gy: float


def add_cycles(by_cycle: Mapping[str, CycleDose | None]) -> Sum:
    """The sum over cycles of one structure; None stands for a cycle without it."""
    missing = tuple(name for name, dose in by_cycle.items() if dose is None)
    known = [dose for dose in by_cycle.values() if dose is not None]
    if missing:
        gone = (_NOT_KNOWN,) * 7
        return Sum(known[0].role, len(known), missing, *gone)
    dose_gy = sum(one.dose_mean_gy for one in known)
    u_dose_gy = u_of_sum([(one.dose_mean_gy, one.relative_u) for one in known])
    bed_gy = sum(one.bed_mean_gy for one in known)
    u_bed_gy = math.hypot(u_of_sum([(one.bed_by_dose_gy, one.relative_u) for one in known]), _u_protraction_gy(known))
    ratios = {one.alpha_beta_gy for one in known}
    alpha_beta_gy = ratios.pop() if len(ratios) == 1 else _NOT_KNOWN
    one_answer = alpha_beta_gy > 0
    return Sum(
        known[0].role,
        len(known),
        (),
        dose_gy,
        u_dose_gy,
        bed_gy,
        u_bed_gy,
        float(eqd2(bed_gy, alpha_beta_gy)) if one_answer else _NOT_KNOWN,
        float(eqd2(u_bed_gy, alpha_beta_gy)) if one_answer else _NOT_KNOWN,
        alpha_beta_gy,
    )


def u_of_sum(terms: Sequence[tuple[float, Mapping[str, float]]]) -> float:
    """u(Σ x_i), of values with their relative standard uncertainties by cause.

    u² = Σ_common (Σ_i u_i)² + Σ_own Σ_i u_i² (GUM 5.2.2, correlation 1 and 0).
    """
    causes = {cause for _, relative_u in terms for cause in relative_u}
    variance = 0.0
    for cause in causes:
        own = [abs(value) * relative_u.get(cause, 0.0) for value, relative_u in terms]
        variance += sum(own) ** 2 if cause in COMMON else sum(u**2 for u in own)
    return math.sqrt(variance)


def _u_protraction_gy(known: Sequence[CycleDose]) -> float:
    """What u(BED) holds beside the dose: the protraction by each cycle's own curve."""
    variance = 0.0
    for one in known:
        by_dose = one.bed_by_dose_gy * math.sqrt(sum(u**2 for u in one.relative_u.values()))
        variance += max(0.0, one.u_bed_mean_gy**2 - by_dose**2)
    return math.sqrt(variance)
