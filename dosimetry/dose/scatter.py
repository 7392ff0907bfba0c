"""What a body's outline, lungs and bones do to photons, to first order.

Primary photons are attenuated by the tissue on their way (`rays`). In water all around, a point gets scattered
photons from every side; near the skin one side is missing, and lung scatters little. The scattered dose S of the
water kernel is therefore multiplied by a share s, what the masses around scatter over what water would:
s(x) = Σ_j G(x - x_j) ρ_j (p P + min(s, 1) S)_j over Σ_j G(x - x_j) ρ_w (P + S)_j, P the primary dose in water, p the
share of it that is let through, and G what scattered photons, taken as isotropic, give to water at their next
collision. As s stands on both sides, it is found by repetition, once for each time that photons are scattered; it is
held at 1 on the right because denser tissue absorbs more of what it scatters again. That G is water's makes the dose in
lungs too low.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dosimetry.dose.convolution import EvenSpectrum, convolved, even_spectrum, pooled, spread
from dosimetry.dose.kernels.radial import EDGES_G_CM2, all_photons, radial_kernel
from dosimetry.dose.kernels.voxel import octant_kernel
from dosimetry.dose.rays import passed_share, source_points
from dosimetry.dose.transport.photon_tables import WATER, photon_tables
from dosimetry.dose.transport.photons import STOP_MEV
from dosimetry.dose.transport.tissues import absorbed_at, scattered_once
from nufitdose.anatomy.composition import SCHNEIDER_PERCENT, mass_fractions
from nufitdose.emissions import Spectrum, chain_spectra
from nufitdose.types import F64, Image32, Labels

_COARSE_MM = 9.0
_MARGIN_MM = 150.0
_ORDERS = 6  # of scattering
_LARGEST_SHARE = 4.0
_PATHS = np.arange(1200) * 0.1  # g/cm²

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
    """Energy per decay that photons give at their first collision, by shell."""
    return _first_collisions(_photons(nuclide), edges_g_cm2)


def _first_collisions(photons: Spectrum, edges_g_cm2: F64) -> F64:
    """Σ y E μ_tr/μ (e^(-μr₁) - e^(-μr₂)), MeV by shell."""
    water = photon_tables(WATER)
    total, absorbed = absorbed_at(water, photons.energy_mev)
    given = photons.energy_mev * photons.per_decay * absorbed / total
    through = np.exp(-np.outer(edges_g_cm2, total))
    return np.asarray((through[:-1] - through[1:]) @ given)


@lru_cache(maxsize=8)
def tissue_factors(nuclide: str) -> tuple[F64, F64]:
    """Dose to a tissue over dose to water in primary and in scattered photons, by row of `SCHNEIDER_PERCENT`.

    μ_tr/ρ averaged over the tracks of the decay's photons, and of those scattered once, twice ... in water.
    """
    order = _photons(nuclide)
    primary, scattered = _absorbed_by_row(order), np.zeros(len(SCHNEIDER_PERCENT) + 1)
    for _ in range(_ORDERS):
        order = scattered_once(order, photon_tables(WATER))
        scattered += _absorbed_by_row(order)
    return _over_water(primary), _over_water(scattered)


def _absorbed_by_row(photons: Spectrum) -> F64:
    """What these photons give per g/cm² of their tracks to each tissue, water last, if all of them collide in water."""
    energy, water = photons.energy_mev, photon_tables(WATER)
    energy_tracks = photons.per_decay * energy / absorbed_at(water, energy)[0]
    tables = [*(photon_tables(mass_fractions(row)) for row in range(len(SCHNEIDER_PERCENT))), water]
    return np.array([energy_tracks @ absorbed_at(each, energy)[1] for each in tables])


def _over_water(absorbed: F64) -> F64:
    return absorbed[:-1] / absorbed[-1] if absorbed[-1] > 0.0 else np.ones(absorbed.size - 1)


@lru_cache(maxsize=8)
def _attenuation_factor(nuclide: str) -> F64:
    """μ/ρ of a tissue over that of water, by row of `SCHNEIDER_PERCENT`, averaged over what primaries give to water."""
    photons, water = _photons(nuclide), photon_tables(WATER)
    total, absorbed = absorbed_at(water, photons.energy_mev)
    weight = photons.energy_mev * photons.per_decay * absorbed
    weight /= weight.sum()
    rows = range(len(SCHNEIDER_PERCENT))
    return np.array(
        [weight @ (absorbed_at(photon_tables(mass_fractions(row)), photons.energy_mev)[0] / total) for row in rows]
    )


@lru_cache(maxsize=8)
def _passed(nuclide: str) -> F64:
    """What primary photons give to water behind 0, 0.1, 0.2 ... g/cm²: Σ y E μ_tr e^(-μw)."""
    photons = _photons(nuclide)
    total, absorbed = absorbed_at(photon_tables(WATER), photons.energy_mev)
    return np.asarray(np.exp(-np.outer(_PATHS, total)) @ (photons.energy_mev * photons.per_decay * absorbed))


@dataclass(frozen=True, eq=False)
class BodyEffect:
    """Photon dose over that in water of one density all around, and the part of it that is primary, by voxel."""

    share: Image32
    primary_part: Image32


def body_effect(
    bq_h: Image32,
    nuclide: str,
    sides_mm: Sides,
    density_g_ml: float,
    surroundings: Surroundings,
    workers: int | None = None,
) -> BodyEffect:
    """What the body does to its photon dose, computed on a grid of about 9 mm and spread onto the volume's."""
    by = max(1, round(_COARSE_MM / min(sides_mm)))
    coarse_mm: Sides = tuple(side * by for side in sides_mm)  # type: ignore[assignment]
    margins = [(math.ceil(_MARGIN_MM / side),) * 2 for side in coarse_mm]
    activity, counted = pooled(bq_h, by), pooled(np.ones(bq_h.shape, np.float32), by)
    density = pooled(surroundings.density_g_ml, by) / counted
    passed = _passed_share(activity, density, counted, by, nuclide, coarse_mm, density_g_ml, surroundings)
    relative = np.pad(density / np.float32(density_g_ml), margins, "edge")
    spectra = _spectra(nuclide, coarse_mm, density_g_ml, relative.shape)
    primary, scattered = (convolved(np.pad(activity, margins), each, workers=workers) for each in spectra[:2])
    in_water = convolved(primary + scattered, spectra[2], workers=workers)
    in_water = np.maximum(in_water, 1e-9 * in_water.max())
    let_through = primary * np.pad(passed, margins, "edge")
    share = np.ones_like(relative)
    for _ in range(_ORDERS):
        around = (let_through + np.minimum(share, 1.0) * scattered) * relative
        share = np.clip(convolved(around, spectra[2], workers=workers) / in_water, 0.0, _LARGEST_SHARE)
    both, least = let_through + share * scattered, 1e-9 * (primary + scattered).max()
    inner = tuple(slice(low, -high) for low, high in margins)
    fields = (both / np.maximum(primary + scattered, least), let_through / np.maximum(both, least))
    return BodyEffect(*(spread(np.clip(values[inner], 0.0, _LARGEST_SHARE), by, bq_h.shape) for values in fields))


def _passed_share(
    activity: Image32,
    density: Image32,
    counted: Image32,
    by: int,
    nuclide: str,
    sides_mm: Sides,
    density_g_ml: float,
    surroundings: Surroundings,
) -> Image32:
    """Primary dose over that in water of one density, by rays through the coarse grid."""
    water = density
    if surroundings.tissue is not None:
        factor = _attenuation_factor(nuclide).astype(np.float32)
        water = pooled(surroundings.density_g_ml * factor[surroundings.tissue], by) / counted
    sides_cm = np.array(sides_mm) / 10.0
    points = source_points(activity)
    share = passed_share(points, water, density_g_ml, sides_cm, _passed(nuclide), float(_PATHS[1]))
    return np.minimum(share, np.float32(_LARGEST_SHARE))


@lru_cache(maxsize=2)
def _spectra(nuclide: str, sides_mm: Sides, density: float, shape: tuple[int, ...]) -> tuple[EvenSpectrum, ...]:
    """Of primary and of scattered dose, and of the next collisions of scattered photons, in water."""
    order, all_orders = _photons(nuclide), []
    for _ in range(_ORDERS):
        order = scattered_once(order, photon_tables(WATER))
        all_orders.append(order)
    energy, number = ([getattr(each, name) for each in all_orders] for name in ("energy_mev", "per_decay"))
    again = Spectrum(np.concatenate(energy), np.concatenate(number))
    size_mm = max(n * side for n, side in zip(shape, sides_mm, strict=True))
    primary = primary_mev(nuclide, EDGES_G_CM2)
    scattered = np.maximum(radial_kernel(nuclide).photon_mev - primary, 0.0)
    shells = (primary, scattered, _first_collisions(again, EDGES_G_CM2))
    octants = (octant_kernel(EDGES_G_CM2, mev, sides_mm, density, size_mm) for mev in shells)
    return tuple(even_spectrum(octant, shape) for octant in octants)
