"""What a body's outline, lungs and bones do to scattered photons, to first order.

In water all around, a point gets scattered photons from every side; near the skin one side is missing, and lung
scatters little. The scattered dose of the water kernel is therefore multiplied by the share that the masses around
scatter of what water would: Σ_j G(x - x_j) P_j ρ_j over Σ_j G(x - x_j) P_j ρ_w, P the primary dose (the photons that can be
scattered there) and G the kernel of photons that were scattered once, taken as isotropic.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dosimetry.dose.convolution import EvenSpectrum, convolved, even_spectrum, pooled, spread
from dosimetry.dose.kernels.radial import EDGES_G_CM2, all_photons, photon_shells
from dosimetry.dose.kernels.voxel import octant_kernel
from dosimetry.dose.transport.photon_tables import WATER, photon_tables
from dosimetry.dose.transport.photons import STOP_MEV
from dosimetry.dose.transport.tissues import absorbed_at, scattered_once
from nufitdose.anatomy.composition import SCHNEIDER_PERCENT, mass_fractions
from nufitdose.emissions import Spectrum, chain_spectra
from nufitdose.types import F64, Image32, Labels

_COARSE_MM = 9.0
_MARGIN_MM = 150.0
_REACH_MM = 400.0

Sides = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Density of every voxel, air outside the body included, and its row of `SCHNEIDER_PERCENT`."""

    density_g_ml: Image32
    tissue: Labels | None = None


@lru_cache(maxsize=8)
def _photons(nuclide: str) -> Spectrum:
    """Photons of a decay that are followed."""
    spectrum = all_photons(chain_spectra(nuclide))
    followed = (spectrum.energy_mev >= STOP_MEV) & (spectrum.per_decay > 0.0)
    return Spectrum(spectrum.energy_mev[followed], spectrum.per_decay[followed])


def primary_mev(nuclide: str, edges_g_cm2: F64) -> F64:
    """Energy per decay that photons give at their first collision, by shell: Σ y E μ_tr/μ (e^(-μr₁) - e^(-μr₂))."""
    photons, water = _photons(nuclide), photon_tables(WATER)
    total, absorbed = absorbed_at(water, photons.energy_mev)
    given = photons.energy_mev * photons.per_decay * absorbed / total
    through = np.exp(-np.outer(edges_g_cm2, total))
    return np.asarray((through[:-1] - through[1:]) @ given)


@lru_cache(maxsize=8)
def tissue_factor(nuclide: str) -> F64:
    """Dose to a tissue over dose to water in the same photons, by row of `SCHNEIDER_PERCENT`.

    μ_tr/ρ is averaged over what the decay's photons and those scattered once give to water.
    """
    photons = _photons(nuclide)
    once = scattered_once(photons, photon_tables(WATER))
    energy = np.concatenate([photons.energy_mev, once.energy_mev])
    number = np.concatenate([photons.per_decay, once.per_decay])
    flux = number / absorbed_at(photon_tables(WATER), energy)[0]  # track per g/cm² of photons that all collide
    water = float((flux * energy * absorbed_at(photon_tables(WATER), energy)[1]).sum())
    given = [
        float((flux * energy * absorbed_at(photon_tables(mass_fractions(row)), energy)[1]).sum())
        for row in range(len(SCHNEIDER_PERCENT))
    ]
    return np.array(given) / water if water > 0.0 else np.ones(len(given))


def scattered_share(
    bq_h: Image32,
    nuclide: str,
    sides_mm: Sides,
    density_g_ml: float,
    surroundings: Surroundings,
    workers: int | None = None,
) -> Image32:
    """Scattered dose over that in water of `density_g_ml` all around, on a grid of about 9 mm, spread onto the volume's."""
    by = max(1, round(_COARSE_MM / min(sides_mm)))
    coarse_mm: Sides = tuple(side * by for side in sides_mm)  # type: ignore[assignment]
    margins = [(math.ceil(_MARGIN_MM / side),) * 2 for side in coarse_mm]
    activity = np.pad(pooled(bq_h, by), margins)
    counted = pooled(np.ones(bq_h.shape, np.float32), by)
    relative = np.pad(pooled(surroundings.density_g_ml, by) / (counted * np.float32(density_g_ml)), margins, "edge")
    primary, once = _spectra(nuclide, coarse_mm, density_g_ml, activity.shape)
    reached = convolved(activity, primary, workers=workers)
    there = convolved(reached * relative, once, workers=workers)
    in_water = convolved(reached, once, workers=workers)
    share = np.divide(there, in_water, out=np.ones_like(there), where=in_water > 1e-6 * in_water.max(initial=0.0))
    inner = tuple(slice(low, -high) for low, high in margins)
    return spread(np.clip(share[inner], 0.0, 3.0), by, bq_h.shape)


@lru_cache(maxsize=2)
def _spectra(nuclide: str, sides_mm: Sides, density: float, shape: tuple[int, ...]) -> tuple[EvenSpectrum, EvenSpectrum]:
    """Of the primary dose, and of photons scattered once, in water."""
    once = scattered_once(_photons(nuclide), photon_tables(WATER))
    size_mm = max(n * side for n, side in zip(shape, sides_mm, strict=True))
    primary = octant_kernel(EDGES_G_CM2, primary_mev(nuclide, EDGES_G_CM2), sides_mm, density, size_mm)
    second = octant_kernel(EDGES_G_CM2, photon_shells(once), sides_mm, density, min(size_mm, _REACH_MM))
    return even_spectrum(primary, shape), even_spectrum(second, shape)
