"""Parametric bootstrap: a slow reference for the uncertainty of a curve's integral."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dosimetry.kinetics.organ_fit import OrganFit
from dosimetry.kinetics.voxel_fit import fit_voxels
from nufitdose.errors import InputError


@dataclass(frozen=True)
class Bootstrap:
    """Scatter of Ã and T_eff over fits to redrawn points, and the intervals that hold 95 % of them."""

    u_tia_mbq_h: float
    u_teff_h: float
    tia_mbq_h: tuple[float, float]
    teff_h: tuple[float, float]


def bootstrap(
    fit: OrganFit, half_life_h: float, u_activity_mbq: ArrayLike | float, *, draws: int = 5000, seed: int = 0
) -> Bootstrap:
    """Draw points around the fitted curve, normal with deviation `u_activity_mbq` (a number or [times]), and fit again.

    The model is that of the fit, by the compiled voxel fits: "mono", "bi", "f3" or "f3a". `InputError` without
    activity.
    """
    known = np.isfinite(fit.fitted_mbq)
    if not (fit.tia_mbq_h > 0 and known.any()):
        raise InputError("a curve without activity was given, there is nothing to draw points around")
    u = np.broadcast_to(np.asarray(u_activity_mbq, dtype=np.float64), known.shape)[known]
    drawn = fit.fitted_mbq[known] + u * np.random.default_rng(seed).normal(size=(draws, u.size))
    again = fit_voxels(drawn, fit.times_h[known], half_life_h, model=fit.model, sigma=u)
    known_teff_h = again.teff_h[np.isfinite(again.teff_h)]
    tia, teff_h = (np.quantile(values, [0.025, 0.975]).tolist() for values in (again.tia, known_teff_h))
    return Bootstrap(float(again.tia.std()), float(known_teff_h.std()), (tia[0], tia[1]), (teff_h[0], teff_h[1]))
