"""Which curve a structure's points support: corrected Akaike criterion, weights and the averaged integral."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dosimetry.kinetics.models import model_named
from dosimetry.kinetics.organ_fit import OrganFit, fit_organ
from nufitdose.errors import InputError


@dataclass(frozen=True, eq=False)
class ModelChoice:
    """The fits that were compared, their Akaike weights, and the integral averaged with them.

    `best` names the largest weight. `tia_mbq_h` = Σ w Ã; `u_tia_mbq_h` = Σ w √(u² + (Ã - Ã_mean)²), which adds what the
    choice of a model leaves open (Burnham & Anderson 2002, eq. 4.9).
    """

    fits: Mapping[str, OrganFit]
    weights: Mapping[str, float]
    best: str
    tia_mbq_h: float
    u_tia_mbq_h: float

    @property
    def fit(self) -> OrganFit:
        """The fit of the largest weight."""
        return self.fits[self.best]


def choose_model(
    times_h: ArrayLike,
    activity_mbq: ArrayLike,
    half_life_h: float,
    *,
    u_activity_mbq: ArrayLike | float | None = None,
    models: Sequence[str] = ("mono", "f3", "f3a", "bi", "tri"),
    intervals: bool = False,
) -> ModelChoice:
    """Fit every model that the number of points allows and weigh them, w = e^(-Δ/2)/Σ with Δ the difference in AICc.

    A model is compared when its AICc exists (N >= K + 2, K with the variance where that is estimated); where none
    does, the one with the fewest parameters stands alone with weight 1. Points as in `fit_organ`; `intervals` of the
    fit of the largest weight only.
    """
    if not models:
        raise InputError("no models were given to choose from")
    known = int(np.isfinite(np.asarray(activity_mbq, dtype=np.float64)).sum())
    extra = 0 if u_activity_mbq is not None else 1
    shapes = sorted((model_named(name) for name in models), key=lambda shape: shape.n_parameters)
    comparable = [shape for shape in shapes if shape.n_parameters + extra + 2 <= known] or shapes[:1]
    fits = {
        shape.name: fit_organ(times_h, activity_mbq, half_life_h, u_activity_mbq=u_activity_mbq, model=shape.name)
        for shape in comparable
    }
    criterion = np.array([fit.aicc for fit in fits.values()])
    weights = np.eye(1, criterion.size)[0]  # without activity there is nothing to compare
    if criterion.size > 1 and not np.isnan(criterion).all():
        best = np.nanmin(criterion)
        weights = (
            np.where(criterion == best, 1.0, np.exp(-0.5 * (criterion - best)))
            if np.isfinite(best)
            else ((criterion == best).astype(np.float64))
        )
        weights = np.nan_to_num(weights)
        weights /= weights.sum()
    tia = np.array([fit.tia_mbq_h for fit in fits.values()])
    u = np.array([fit.u_tia_mbq_h for fit in fits.values()])
    mean = float(weights @ tia)
    used = weights > 0
    spread = float(weights[used] @ np.sqrt(u[used] ** 2 + (tia[used] - mean) ** 2))
    names = list(fits)
    if intervals:
        name = names[int(weights.argmax())]
        fits[name] = fit_organ(
            times_h, activity_mbq, half_life_h, u_activity_mbq=u_activity_mbq, model=name, intervals=True
        )
    return ModelChoice(
        fits, dict(zip(names, weights.tolist(), strict=True)), names[int(weights.argmax())], mean, spread
    )
