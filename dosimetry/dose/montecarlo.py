"""Absorbed dose by Monte Carlo on the patient's CT: photons and electrons followed from voxel to voxel."""

import logging
from typing import TYPE_CHECKING

import numpy as np

from dosimetry.dose.density import floored_density_g_ml
from dosimetry.dose.kernel import mask_air, propagate_error_gy
from dosimetry.dose.values import AbsorbedDose, DoseRequest
from nufitdose.emissions import chain_spectra
from nufitdose.nuclides import DECAYS_PER_MBQ_H, JOULE_PER_MEV, canonical_name
from nufitdose.types import F64, Image32
from nufitdose.volume import Quantity

if TYPE_CHECKING:
    from dosimetry.dose.histories import Estimate

log = logging.getLogger(__name__)

_HISTORIES = 40_000  # of each kind in a batch
_FEWEST = 0.05  # of them for a kind that carries little of the energy
_GY_PER_MEV_G = JOULE_PER_MEV * 1e3
_DECAYS_PER_BQ_H = DECAYS_PER_MBQ_H * 1e-6

METHOD = (
    "Monte Carlo on the CT (emissions of ICRP Publication 107; tissues by Schneider 2000): photons ({photon_mev} MeV "
    "per decay) by Woodcock tracking with a track-length estimator, electrons by condensed history scaled with "
    "density, alphas and recoils where they arise ({local_mev} MeV per decay),"
)
LEFT_OUT = (
    "What photons set free stays where it arises; electrons slow down as in water of the local density.",
    "Activity outside the field of view gives no dose; where the field of view cuts the body, it is taken to go on for "
    "150 mm as on its last slice.",
)


def transport_on_ct(request: DoseRequest) -> AbsorbedDose:
    """Dose by local deposition of charged particles, plus what they carry elsewhere, plus what photons leave.

    Electrons meet ρ not below `density_floor_g_ml` and are divided by that mass, photons meet the CT's own density and
    give dose to its tissue, D = Σ E l (μ_tr/ρ)/V. Air outside the body receives no dose. Histories go on until the
    error of `histories.block_error_percent` is `statistical_percent`, or `time_budget_s` is over; the same seed gives
    the same dose on any number of threads. Activity that is not a number gives none to others, and its own voxel's
    dose is none; negative activity is carried on, as dose is linear.

    u(D)² = u_statistical² + u_propagated², the second as in the engine `kernel` where `u_tia` is given.
    """
    tia, density = request.tia, floored_density_g_ml(request)
    known = np.isfinite(tia.data)
    emitted = np.where(known, tia.data, np.float32(0.0))
    found, local, left = _simulate(emitted, density, request)
    dose_gy = (local + found.mean).astype(np.float32)
    u_gy = found.error.astype(np.float32)
    if request.u_tia is not None:
        u_gy = np.hypot(u_gy, propagate_error_gy(request.u_tia, emitted, dose_gy, density, request))
    dose_gy[~known] = np.nan
    if found.block_percent > request.settings.statistical_percent:
        log.warning(
            "the time for transport was over at a statistical error of %.2g %% in blocks of 20 mL, %.2g %% was wanted",
            found.block_percent,
            request.settings.statistical_percent,
        )
    return AbsorbedDose(
        tia.with_data(mask_air(dose_gy, request), Quantity.DOSE),
        tia.with_data(mask_air(u_gy, request), Quantity.DOSE),
        left,
        found.block_percent,
    )


def _simulate(emitted: Image32, density: Image32 | float, request: DoseRequest) -> "tuple[Estimate, F64, float]":
    """The estimate of what transport adds, local deposition (Gy), and the share of the energy outside the field."""
    from dosimetry.dose import histories, medium  # they load what compiles transport
    from dosimetry.dose.transport.voxel_electrons import electron_batch
    from dosimetry.dose.transport.voxel_photons import photon_batch

    grid, settings = request.tia.grid, request.settings
    spectra = chain_spectra(canonical_name(request.nuclide))
    photons, electrons = medium.photon_lines(spectra), medium.electron_lines(spectra)
    source = medium.source_of(emitted, grid.voxel_volume_ml)
    tissue_medium, tissues = medium.photon_medium(request)
    water_medium, tables, ranges, kept = medium.electron_medium(density, request)
    many_photons, many_electrons = _numbers(photons[2], electrons[2]) if source[0].size else (0, 0)
    floored_g = water_medium[0].astype(float) * grid.voxel_volume_ml
    mass_g = tissue_medium[0].astype(float) * grid.voxel_volume_ml
    local = emitted * (medium.local_mev(spectra) * _DECAYS_PER_BQ_H * _GY_PER_MEV_G * grid.voxel_volume_ml) / floored_g
    landed_mev: dict[int, float] = {}

    def batch(number: int) -> F64:
        tally = np.zeros(grid.shape)
        first, seed = number * (_HISTORIES + 1), 2 * request.seed
        if many_photons:
            photon_batch(first, many_photons, seed, source, photons, tissue_medium, tissues, tally)
        landed_mev[number] = float((tally * (mass_g - floored_g)).sum())
        if many_electrons:
            electron_batch(
                first, many_electrons, seed + 1, source, electrons, water_medium, tables, ranges, kept, tally
            )
        landed_mev[number] += float((tally * floored_g).sum())
        tally *= _GY_PER_MEV_G
        return tally

    takes_dose = np.ones(grid.shape, bool) if request.anatomy is None else request.anatomy.takes_dose
    found = histories.simulate(
        batch,
        local,
        histories.Blocks.of(mass_g, takes_dose, grid.spacing_mm),
        percent=settings.statistical_percent,
        budget_s=settings.time_budget_s,
        on_progress=request.on_progress,
    )
    decays = float(emitted.sum(dtype=float)) * grid.voxel_volume_ml * _DECAYS_PER_BQ_H
    transported = float(np.mean([landed_mev[number] for number in range(found.batches)]))
    landed = transported + decays * medium.local_mev(spectra)
    return found, local, max(0.0, 1.0 - landed / (decays * spectra.total_mev)) if decays > 0.0 else 0.0


def _numbers(photon_mev: float, electron_mev: float) -> tuple[int, int]:
    """Histories of photons and of electrons in a batch: as many of each, fewer of what carries little energy."""
    whole = max(photon_mev + electron_mev, 1e-300)
    parts = (min(max(4.0 * part / whole, _FEWEST), 1.0) if part > 0.0 else 0.0 for part in (photon_mev, electron_mev))
    photons, electrons = (round(part * _HISTORIES) for part in parts)
    return photons, electrons
