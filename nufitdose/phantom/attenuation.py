"""What a CT in another breathing phase does to attenuation correction.

First order (Chang, doi:10.1109/TNS.1978.4329385): a source at x is seen through
`a(x) = mean over directions of exp(-∫ μ dl)`. Corrected with the wrong map it comes out wrong by
`a_true(x) / a_used(x)`. Four directions in the transverse plane are taken.
"""

import numpy as np

from nufitdose.grid import Grid
from nufitdose.types import Image32


def linear_attenuation(hu: Image32, water_per_cm: float) -> Image32:
    """μ in 1/cm from CT numbers: `μ_w (1 + HU/1000)`, half that slope above water (bone at emission energies)."""
    relative = np.where(hu < 0, 1.0 + hu / 1000.0, 1.0 + 0.5 * hu / 1000.0)
    return np.asarray(water_per_cm * np.clip(relative, 0.0, 2.5), dtype=np.float32)


def correction_error(seen_hu: Image32, used_hu: Image32, grid: Grid, water_per_cm: float) -> Image32:
    """Factor a_true/a_used on the image where `used_hu` corrects what `seen_hu` attenuated."""
    return _transmission(seen_hu, grid, water_per_cm) / _transmission(used_hu, grid, water_per_cm)


def _transmission(hu: Image32, grid: Grid, water_per_cm: float) -> Image32:
    mu = linear_attenuation(hu, water_per_cm)
    total = np.zeros(mu.shape, dtype=np.float32)
    for axis in (0, 1):
        step_cm = grid.spacing_mm[axis] / 10.0
        from_low = (np.cumsum(mu, axis=axis) - 0.5 * mu) * np.float32(step_cm)
        whole = mu.sum(axis=axis, keepdims=True) * np.float32(step_cm)
        total += np.exp(-from_low) + np.exp(-(whole - from_low))
    return np.asarray(total / 4.0, dtype=np.float32)
