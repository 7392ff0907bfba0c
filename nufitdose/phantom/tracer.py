"""Activity in every voxel at any time, and its exact integral.

`c(x,t) = h(x) Σ_j a_j e^(-λ_j(x) t)`, `λ_j(x) = λ_p + λ_bio,j k(x)`: sums of exponentials per compartment whose
amplitude and clearance vary smoothly within the compartment (h and k log-normal with mean 1). Filling is the last
term, its rate the same everywhere. The time-integrated activity is `Ã(x) = h(x) Σ_j a_j / λ_j(x)`.
"""

import math
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from numpy.typing import NDArray

from nufitdose.compiled import compiled, inlined, over_slabs
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.nuclides import canonical_name, decay_constant_per_h
from nufitdose.phantom.composition import Composition
from nufitdose.phantom.kinetics_tables import DEFAULT_TRACER, TRACERS, Tracer, Uptake
from nufitdose.phantom.texture import SmoothNoise
from nufitdose.phantom.tissues import Compartment
from nufitdose.types import Field, Image32

_TERMS = 3  # two clearance phases and the filling
LN2 = math.log(2.0)

# Log-normal spreads between patients: amount and biological half-life of organs and of single tumours (chosen here).
_ORGAN_SPREAD, _ORGAN_HALF_LIFE_SPREAD = 0.28, 0.15
_TUMOUR_SPREAD, _TUMOUR_HALF_LIFE_SPREAD = 0.55, 0.25
# Log-normal spreads within a compartment: amount and clearance rate (chosen here).
_WITHIN = {"organ": (0.12, 0.06), "tumour": (0.28, 0.12), "soft": (0.10, 0.04)}
_WAVELENGTHS_MM = (22.0, 90.0)


@dataclass(frozen=True, eq=False)
class Distribution:
    """Kinetics of every compartment of one patient.

    `amplitudes` Bq/mL and `biological_rates` 1/h are `[compartments, 3]`, the last column is the filling;
    `spreads` `[compartments, 2]` are those of h and k within the compartment.
    """

    tracer: Tracer
    administered_mbq: float
    decay_per_h: float
    amplitudes: NDArray[np.float64]
    biological_rates: NDArray[np.float64]
    spreads: NDArray[np.float64]
    amount_noise: SmoothNoise
    clearance_noise: SmoothNoise

    def activity(self, composition: Composition, time_h: float, pull: Field | None = None) -> Image32:
        """Concentration (Bq/mL) of the resting tissue found in each voxel, `time_h` after administration."""
        uneven = self._unevenness(composition.grid, pull)
        return self._evaluate(composition.compartments, composition.shares, uneven, time_h)

    def by_slot(self, composition: Composition, time_h: float, pull: Field | None = None) -> list[Image32]:
        """`activity` in its parts: what the largest compartment of each voxel adds, the second, and so on."""
        uneven, slots = self._unevenness(composition.grid, pull), range(len(composition.compartments))
        return [
            self._evaluate(composition.compartments[n : n + 1], composition.shares[n : n + 1], uneven, time_h)
            for n in slots
        ]

    def compartment_totals(self, composition: Composition, parts: list[Image32]) -> NDArray[np.float64]:
        """Sum of the `parts` of `by_slot` over the voxels, compartment by compartment."""
        count = len(self.amplitudes)
        pairs = zip(composition.compartments, parts, strict=True)
        sums = [
            np.bincount(compartments.ravel(), weights=part.ravel(), minlength=count) for compartments, part in pairs
        ]
        return np.asarray(np.sum(sums, axis=0))

    def _evaluate(
        self,
        compartments: NDArray[np.uint8],
        shares: NDArray[np.float32],
        uneven: tuple[Image32, Image32],
        time_h: float,
    ) -> Image32:
        out = np.empty(compartments.shape[1:], dtype=np.float32)
        tables = (self.amplitudes, self.biological_rates, self.spreads, self.decay_per_h)
        over_slabs(
            _concentration, int(compartments.shape[1]), compartments, shares, *tables, *uneven, float(time_h), out
        )
        return out

    def integral(self, composition: Composition) -> tuple[Image32, Image32]:
        """Time-integrated activity (Bq·h/mL) and effective half-life (h) of the slowest phase, at rest.

        Where a voxel holds several compartments its half-life is their mean weighted with Ã; 0 where Ã is 0.
        """
        tia, half_life = (np.empty(composition.grid.shape, dtype=np.float32) for _ in range(2))
        amount, clearance = self._unevenness(composition.grid, None)
        tables = (self.amplitudes, self.biological_rates, self.spreads, self.decay_per_h)
        slices, parts = composition.grid.shape[0], (composition.compartments, composition.shares)
        over_slabs(_integrate, slices, *parts, *tables, amount, clearance, tia, half_life)
        return tia, half_life

    def integral_by_slot(self, composition: Composition) -> list[Image32]:
        """The time-integrated activity of `integral` in its parts, as those of `by_slot`."""
        slots = range(len(composition.compartments))
        alone = [
            Composition(composition.grid, composition.compartments[n : n + 1], composition.shares[n : n + 1])
            for n in slots
        ]
        return [self.integral(part)[0] for part in alone]

    def _unevenness(self, grid: Grid, pull: Field | None) -> tuple[Image32, Image32]:
        return self.amount_noise.on(grid, pull), self.clearance_noise.on(grid, pull)


def find_tracer(name: str) -> Tracer:
    """A tracer by its name or by its nuclide alone; `InputError` names the known ones."""
    by_name = {known.lower(): tracer for known, tracer in TRACERS.items()}
    if name.strip().lower() in by_name:
        return by_name[name.strip().lower()]
    known = f"Known tracers: {', '.join(TRACERS)}; a nuclide alone may be {', '.join(DEFAULT_TRACER)}"
    try:
        nuclide = canonical_name(name)
    except InputError as error:
        raise InputError(f"the tracer or nuclide {name!r} is unknown", remedy=known) from error
    if nuclide not in DEFAULT_TRACER:
        raise InputError(f"no kinetics are known for a tracer with {nuclide}", remedy=known)
    return TRACERS[DEFAULT_TRACER[nuclide]]


def distribute(
    tracer: Tracer, compartments: tuple[Compartment, ...], random: np.random.Generator, administered_mbq: float
) -> Distribution:
    """Draw the kinetics of one patient's organs and tumours."""
    shape = (len(compartments), _TERMS)
    amplitudes, rates = np.zeros(shape), np.ones(shape)
    spreads = np.zeros((len(compartments), 2))
    drawn: dict[str, NDArray[np.float64]] = {}
    bq_per_percent = administered_mbq * 1e6 / 100.0
    for number, compartment in enumerate(compartments):
        if compartment.tissue in ("air", "gas", "metal") or number == 0:
            continue
        is_tumour = compartment.structure.startswith("tumour")
        uptake = tracer.tumour if is_tumour else _uptake(tracer, compartment)
        own = compartment.structure or "rest"
        if own not in drawn:
            spread = (
                (_TUMOUR_SPREAD, _TUMOUR_HALF_LIFE_SPREAD) if is_tumour else (_ORGAN_SPREAD, _ORGAN_HALF_LIFE_SPREAD)
            )
            drawn[own] = np.exp(np.clip(random.normal(size=2), -2.0, 2.0) * spread)
        amount, slower = drawn[own]
        if compartment.tissue == "necrosis":
            amount = amount * tracer.necrosis_share
        for phase, (percent, half_life_h) in enumerate(uptake.phases):
            amplitudes[number, phase] = percent * amount * bq_per_percent
            rates[number, phase] = LN2 / (half_life_h * slower)
        amplitudes[number, -1] = -amplitudes[number, :-1].sum()
        rates[number, -1] = LN2 / uptake.uptake_h
        spreads[number] = _WITHIN["tumour" if is_tumour else "organ" if compartment.structure else "soft"]
    return Distribution(
        tracer,
        administered_mbq,
        decay_constant_per_h(tracer.nuclide),
        amplitudes,
        rates,
        spreads,
        SmoothNoise.draw(random, _WAVELENGTHS_MM),
        SmoothNoise.draw(random, _WAVELENGTHS_MM),
    )


def _uptake(tracer: Tracer, compartment: Compartment) -> Uptake:
    return tracer.tissues.get(compartment.tissue, tracer.tissues["soft"])


@inlined
@no_type_check
def _lognormal(spread, noise):
    """A log-normal factor of mean 1."""
    return math.exp(spread * noise - 0.5 * spread * spread)


@compiled
@no_type_check
def _concentration(
    first, last, compartments, shares, amplitudes, rates, spreads, decay, amount, clearance, time_h, out
):
    kept, _, nj, nk = compartments.shape
    terms = amplitudes.shape[1]
    for i in range(first, last):
        for j in range(nj):
            for k in range(nk):
                total = 0.0
                for slot in range(kept):
                    share = shares[slot, i, j, k]
                    r = compartments[slot, i, j, k]
                    if share <= 0.0 or amplitudes[r, terms - 1] == 0.0:
                        continue
                    h, faster = (
                        _lognormal(spreads[r, 0], amount[i, j, k]),
                        _lognormal(spreads[r, 1], clearance[i, j, k]),
                    )
                    value = amplitudes[r, terms - 1] * math.exp(-(rates[r, terms - 1] + decay) * time_h)
                    for n in range(terms - 1):
                        if amplitudes[r, n] != 0.0:
                            value += amplitudes[r, n] * math.exp(-(rates[r, n] * faster + decay) * time_h)
                    total += share * h * value
                out[i, j, k] = total


@compiled
@no_type_check
def _integrate(first, last, compartments, shares, amplitudes, rates, spreads, decay, amount, clearance, tia, half_life):
    kept, _, nj, nk = compartments.shape
    terms = amplitudes.shape[1]
    for i in range(first, last):
        for j in range(nj):
            for k in range(nk):
                total, weighted = 0.0, 0.0
                for slot in range(kept):
                    share = shares[slot, i, j, k]
                    r = compartments[slot, i, j, k]
                    if share <= 0.0 or amplitudes[r, terms - 1] == 0.0:
                        continue
                    h, faster = (
                        _lognormal(spreads[r, 0], amount[i, j, k]),
                        _lognormal(spreads[r, 1], clearance[i, j, k]),
                    )
                    part = amplitudes[r, terms - 1] / (rates[r, terms - 1] + decay)
                    slowest = 1e30
                    for n in range(terms - 1):
                        if amplitudes[r, n] != 0.0:
                            rate = rates[r, n] * faster + decay
                            part += amplitudes[r, n] / rate
                            slowest = min(slowest, rate)
                    total += share * h * part
                    weighted += share * h * part * LN2 / slowest
                tia[i, j, k] = total
                half_life[i, j, k] = weighted / total if total > 0.0 else 0.0
