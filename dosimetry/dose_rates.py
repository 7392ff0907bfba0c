"""The other order of the chain: the dose rate of every scan by the engine, then a curve through it in every voxel.

A voxel's dose rate is a sum of two parts that go with time in their own ways: what charged particles leave follows the
voxel and its neighbours, what photons leave follows all that is around. How each goes is known from the activities, how
much of each there is in the body is fitted to the dose rates:

Ḋ_i(t) = u_i q_i(t) + v_i p_i(t),  u, v >= 0,  and  D_i = u_i ∫ q_i dt + v_i ∫ p_i dt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dosimetry.dose import AbsorbedDose
from nufitdose.registration.series import Frame
from nufitdose.types import Image32
from nufitdose.volume import Quantity, Volume

#: Activity integrated over one hour, Bq·h/mL, and the number of its scan -> the dose of that hour.
DoseOfHour = Callable[[Volume, int], AbsorbedDose]
#: Activity, Bq·h/mL -> the parts q and p of its dose, each in a unit of its own (`DoseEngine.parts`).
PartsOf = Callable[[Volume], tuple[Image32, Image32]]

_EQUAL = 1e-3  # how much the fit holds u and v alike, relative: one scan tells only one of them
_UNKNOWN = 0.01  # of a voxel's dose: what may come from activity of unknown error before its own is not known


@dataclass(frozen=True, eq=False)
class DoseRates:
    """Dose rates of the scans, Gy/h, on the reference grid, and what the engine said of them.

    `relative_u` is the engine's own statistical error of a voxel's dose, None where it draws none; `left_the_field` and
    `statistical_percent` as in `AbsorbedDose`, the first averaged over the scans by their activity, the second the
    largest.
    """

    rates: tuple[Volume, ...]
    relative_u: Image32 | None
    left_the_field: float | None
    statistical_percent: float | None

    def integrate(self, frames: Sequence[Frame], tia: Volume, u_tia: Volume, parts_of: PartsOf) -> AbsorbedDose:
        """D = ∫ Ḋ dt, Gy, and its error: by `u_tia` as if all activities erred the same way, and the engine's own.

        `frames` are the scans of these rates, `tia` and `u_tia`, Bq·h/mL, the integrals of the voxels' activity. A
        voxel whose integral is not a number has no dose.
        """
        amounts = _fit_amounts([rate.data for rate in self.rates], frames, parts_of)
        dose_gy = _sum_parts(amounts, parts_of(tia))
        dose_gy[~np.isfinite(tia.data)] = np.nan
        known = np.isfinite(u_tia.data)
        u_gy = _sum_parts(amounts, parts_of(u_tia))
        if not known.all():
            by_unknown_gy = _sum_parts(amounts, parts_of(tia.with_data(np.where(known, np.float32(0.0), tia.data))))
            u_gy[by_unknown_gy > _UNKNOWN * dose_gy] = np.nan
        if self.relative_u is not None:
            u_gy = np.hypot(u_gy, self.relative_u * dose_gy)
        dose, u_dose = (tia.with_data(values, Quantity.DOSE) for values in (dose_gy, u_gy))
        return AbsorbedDose(dose, u_dose, self.left_the_field, self.statistical_percent)


def dose_rates(frames: Sequence[Frame], dose_of_hour: DoseOfHour) -> DoseRates:
    """Ḋ_i(t) = Σ_j K_ij c_j(t), Gy/h, at every scan.

    Where bed positions are seen one after the other, the rate is that of the scan's own time: activities are
    decay-corrected to it. Activity outside a scan's field of view is not known and gives no rate.
    """
    found = [dose_of_hour(_hour_of(frame), number) for number, frame in enumerate(frames)]
    shares = [hour.left_the_field for hour in found if hour.left_the_field is not None]
    weights = [max(frame.activity.total_mbq(), 0.0) for frame in frames]
    statistical = [hour.statistical_percent for hour in found if hour.statistical_percent is not None]
    return DoseRates(
        tuple(hour.dose.with_data(hour.dose.data, Quantity.DOSE_RATE) for hour in found),
        _relative_u(found),
        float(np.average(shares, weights=weights if sum(weights) > 0.0 else None)) if shares else None,
        max(statistical) if statistical else None,
    )


def _hour_of(frame: Frame) -> Volume:
    """The activity of a scan as if it stayed for an hour."""
    return frame.activity.with_data(frame.activity.data, Quantity.TIA)


def _fit_amounts(rates: Sequence[Image32], frames: Sequence[Frame], parts_of: PartsOf) -> tuple[Image32, Image32]:
    """u, v of the least Σ_k w_k (Ḋ_k - u q_k - v p_k)² in every voxel, w = 1/(|q| + |p|)².

    So differences are relative ones, and the noise of an engine that draws is not in the weights. u and v are drawn a
    little towards the one number that both would be if the body were water: with one scan they are that number.
    """
    qq, qp, pp, rq, rp = (np.zeros_like(rates[0]) for _ in range(5))
    for rate, frame in zip(rates, frames, strict=True):
        parts = parts_of(_hour_of(frame))
        scale = np.abs(parts[0]) + np.abs(parts[1])
        use = np.isfinite(rate) & (scale > 0.0)
        r, q, p = (np.divide(one, scale, out=np.zeros_like(scale), where=use) for one in (rate, *parts))
        qq += q * q
        qp += q * p
        pp += p * p
        rq += r * q
        rp += r * p
    both = np.maximum(_ratio(rq + rp, qq + 2.0 * qp + pp), 0.0)
    held = np.float32(1.0 + _EQUAL)
    of_q, of_p = rq - both * (qq + qp), rp - both * (qp + pp)  # what `both` leaves
    rest = qq * pp * held**2 - qp * qp
    u = both + _ratio(of_q * pp * held - of_p * qp, rest)
    v = both + _ratio(of_p * qq * held - of_q * qp, rest)
    only_u, only_v = np.maximum(_ratio(rq, qq), 0.0), np.maximum(_ratio(rp, pp), 0.0)
    one = (u < 0.0) | (v < 0.0) | (rest <= 0.0)  # then the part that alone explains more
    of_q_alone = only_u * rq >= only_v * rp
    u = np.where(one, np.where(of_q_alone, only_u, np.float32(0.0)), u)
    v = np.where(one, np.where(of_q_alone, np.float32(0.0), only_v), v)
    return u, v


def _ratio(values: Image32, over: Image32) -> Image32:
    """0 where there is nothing to divide by."""
    return np.divide(values, over, out=np.zeros_like(values), where=over > 0.0)


def _sum_parts(amounts: tuple[Image32, Image32], parts: tuple[Image32, Image32]) -> Image32:
    return amounts[0] * parts[0] + amounts[1] * parts[1]


def _relative_u(found: Sequence[AbsorbedDose]) -> Image32 | None:
    """√Σ u(Ḋ_i)² / Σ Ḋ_i: the scans' errors are independent, and count alike."""
    errors = [hour.u_dose.data for hour in found if hour.u_dose is not None]
    if not errors:
        return None
    total = np.sum([hour.dose.data for hour in found], axis=0)
    u = np.sqrt(np.sum(np.square(errors), axis=0))
    return np.asarray(np.divide(u, total, out=np.zeros_like(total), where=total > 0.0), dtype=np.float32)
