"""The other order of the chain: the dose rate of every scan by the engine, then a curve through it in every voxel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dosimetry.dose import AbsorbedDose
from dosimetry.kinetics import VoxelFit
from nufitdose.registration.series import Frame
from nufitdose.types import Image32
from nufitdose.volume import Quantity, Volume

#: Activity integrated over one hour, Bq·h/mL, and the number of its scan -> the dose of that hour.
DoseOfHour = Callable[[Volume, int], AbsorbedDose]


@dataclass(frozen=True, eq=False)
class DoseRates:
    """Frames whose `activity` holds dose rates, Gy/h, and what the engine said of them.

    `relative_u` is the engine's own statistical error of a voxel's dose, None where it draws none; `left_the_field` and
    `statistical_percent` as in `AbsorbedDose`, the first averaged over the scans by their activity, the second the
    largest.
    """

    frames: tuple[Frame, ...]
    relative_u: Image32 | None
    left_the_field: float | None
    statistical_percent: float | None

    def integrate(self, fit: VoxelFit) -> AbsorbedDose:
        """D = ∫ Ḋ dt, Gy, of the curves fitted to these rates, and its error by curve and statistics of the engine."""
        grid = self.frames[0].activity.grid
        dose_gy, u_gy = (values.reshape(grid.shape) for values in (fit.tia, fit.u_tia))
        if self.relative_u is not None:
            u_gy = np.hypot(u_gy, self.relative_u * dose_gy)
        u_gy = np.where(dose_gy == 0.0, np.float32(0.0), u_gy)  # air, as every engine says of it
        dose, u_dose = (Volume(values, grid, Quantity.DOSE) for values in (dose_gy, u_gy))
        return AbsorbedDose(dose, u_dose, self.left_the_field, self.statistical_percent)


def dose_rates(frames: Sequence[Frame], dose_of_hour: DoseOfHour) -> DoseRates:
    """Ḋ_i(t) = Σ_j K_ij c_j(t), Gy/h, at every scan.

    Where bed positions are seen one after the other, the rate is that of the scan's own time: activities are
    decay-corrected to it. Activity outside a scan's field of view is not known and gives no rate.
    """
    found = [
        dose_of_hour(frame.activity.with_data(frame.activity.data, Quantity.TIA), number)
        for number, frame in enumerate(frames)
    ]
    rated = [
        replace(frame, activity=hour.dose.with_data(hour.dose.data, Quantity.DOSE_RATE), offset_h=None)
        for frame, hour in zip(frames, found, strict=True)
    ]
    shares = [hour.left_the_field for hour in found if hour.left_the_field is not None]
    weights = [max(frame.activity.total_mbq(), 0.0) for frame in frames]
    statistical = [hour.statistical_percent for hour in found if hour.statistical_percent is not None]
    return DoseRates(
        tuple(rated),
        _relative_u(found),
        float(np.average(shares, weights=weights if sum(weights) > 0.0 else None)) if shares else None,
        max(statistical) if statistical else None,
    )


def _relative_u(found: Sequence[AbsorbedDose]) -> Image32 | None:
    """√Σ u(Ḋ_i)² / Σ Ḋ_i: the scans' errors are independent, and count alike."""
    errors = [hour.u_dose.data for hour in found if hour.u_dose is not None]
    if not errors:
        return None
    total = np.sum([hour.dose.data for hour in found], axis=0)
    u = np.sqrt(np.sum(np.square(errors), axis=0))
    return np.asarray(np.divide(u, total, out=np.zeros_like(total), where=total > 0.0), dtype=np.float32)
