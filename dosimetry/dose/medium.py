"""What transport meets in the voxels of a grid, and what it starts from."""

import numpy as np

from dosimetry.dose.kernels.radial import all_photons, radiated_part
from dosimetry.dose.transport.electron_tables import ElectronTables, electron_tables
from dosimetry.dose.transport.electron_tables import energy_grid as electron_energies
from dosimetry.dose.transport.photon_tables import WATER
from dosimetry.dose.transport.photons import STOP_MEV
from dosimetry.dose.transport.tissues import TissueTables, tissue_tables
from dosimetry.dose.transport.water import Numbers, csda_range, energy_of_range
from dosimetry.dose.values import DoseRequest
from nufitdose.anatomy.composition import mass_fractions
from nufitdose.emissions import EmissionSpectra, Spectrum
from nufitdose.types import F64, Image32, Labels, Mask, Triple

_SLOWEST_MEV = 0.01  # the kernels of slower electrons are not tabulated either: they stay where they are
_STOP_PART = 0.05  # of a voxel's side at the density floor: the range of an electron that is not followed any more
_LOWEST_STOP_MEV, _HIGHEST_STOP_MEV = 0.015, 0.2
_AIR_G_ML = 0.02
_MARGIN_MM = 150.0  # how far the body is taken to go on where the grid cuts it

PhotonMedium = tuple[Image32, np.ndarray, Numbers, Numbers, Numbers, Numbers]
Lines = tuple[Numbers, Numbers, float]  # energies, cumulative share of the energy, MeV per decay


def photon_medium(request: DoseRequest) -> tuple[PhotonMedium, TissueTables]:
    """`medium_of` the anatomy on the grid of the activity; water of the stated density without one."""
    grid, anatomy = request.tia.grid, request.anatomy
    if anatomy is None:
        density = np.full(grid.shape, request.settings.density_without_ct_g_ml, np.float32)
        body, tissue = np.ones(grid.shape, bool), None
    else:
        density = np.ascontiguousarray(anatomy.density.data, np.float32)
        body, tissue = anatomy.takes_dose, anatomy.tissue
    return medium_of(density, tissue, grid.spacing_mm, body)


def medium_of(
    density_g_ml: Image32, tissue: Labels | None, spacing_mm: Triple, body: Mask
) -> tuple[PhotonMedium, TissueTables]:
    """Density, tissue, majorant and limits as `voxel_photons` wants them, and the cross-sections of the tissues.

    `tissue` is the row of `SCHNEIDER_PERCENT` by voxel, water where None; `body` says where the grid cuts it.
    """
    if tissue is None:
        tables, rows = tissue_tables([WATER]), np.zeros(density_g_ml.shape, np.uint8)
    else:
        present, flat = np.unique(tissue, return_inverse=True)
        tables = tissue_tables([mass_fractions(int(row)) for row in present])
        rows = flat.reshape(tissue.shape).astype(np.uint8)
    densest = np.zeros(tables.total.shape[1])
    np.maximum.at(densest, rows.ravel(), density_g_ml.ravel())
    majorant = (tables.total * densest).max(axis=1)
    low, high = _limits(body, density_g_ml, spacing_mm)
    return (density_g_ml, rows, majorant, np.array(spacing_mm) / 10.0, low, high), tables


def _limits(body: Mask, density_g_ml: Image32, spacing_mm: Triple) -> tuple[Numbers, Numbers]:
    """Where transport ends, in voxels: beyond every side of the grid that cuts the body it goes on for a while.

    Elsewhere it ends with the last voxel that is not air: what air scatters back is left out.
    """
    low, high = np.zeros(3), np.array(body.shape, float)
    for axis, side in enumerate(spacing_mm):
        first, last = (bool(body.take(end, axis=axis).any()) for end in (0, -1))
        others = tuple(other for other in range(3) if other != axis)
        solid = np.flatnonzero((density_g_ml > _AIR_G_ML).any(axis=others))
        if solid.size:
            low[axis], high[axis] = solid[0], solid[-1] + 1
        low[axis] = -_MARGIN_MM / side if first else low[axis]
        high[axis] = body.shape[axis] + _MARGIN_MM / side if last else high[axis]
    return low, high


def electron_medium(
    density_g_ml: Image32 | float, request: DoseRequest
) -> tuple[tuple[Image32, Image32, Numbers], ElectronTables, Numbers, Numbers]:
    """Density, 1/mass (1/g) and sides; tables of electrons, their ranges and the part they do not radiate."""
    grid = request.tia.grid
    density = np.ascontiguousarray(np.broadcast_to(np.asarray(density_g_ml, np.float32), grid.shape))
    per_gram = (1.0 / (density * grid.voxel_volume_ml)).astype(np.float32)
    sides = np.array(grid.spacing_mm) / 10.0
    stop_mev = energy_of_range(_STOP_PART * float(sides.min()) * request.settings.density_floor_g_ml)
    tables = electron_tables(float(np.clip(stop_mev, _LOWEST_STOP_MEV, _HIGHEST_STOP_MEV)))
    E = electron_energies()
    return (density, per_gram, sides), tables, csda_range(E), 1.0 - radiated_part(E)


def photon_lines(spectra: EmissionSpectra) -> Lines:
    """Photons that are followed, those radiated by electrons among them."""
    return _lines(all_photons(spectra), STOP_MEV)


def electron_lines(spectra: EmissionSpectra) -> Lines:
    """Electrons that are followed."""
    return _lines(spectra.electron, _SLOWEST_MEV)


def local_mev(spectra: EmissionSpectra) -> float:
    """Energy per decay that is deposited locally: all of charged particles but what they radiate, and slow photons."""
    electrons, photons = spectra.electron, all_photons(spectra)
    kept = electrons.energy_mev * electrons.per_decay * (1.0 - radiated_part(electrons.energy_mev))
    slow = photons.energy_mev < STOP_MEV
    slow_mev = photons.energy_mev[slow] @ photons.per_decay[slow]
    return float(kept.sum() + slow_mev) + spectra.alpha.total_mev + spectra.recoil.total_mev


def _lines(spectrum: Spectrum, lowest_mev: float) -> Lines:
    energy_mev = spectrum.energy_mev * spectrum.per_decay
    followed = (spectrum.energy_mev >= lowest_mev) & (energy_mev > 0.0)
    total = float(energy_mev[followed].sum())
    return spectrum.energy_mev[followed], np.cumsum(energy_mev[followed]) / max(total, 1e-300), total


def source_of(tia_bq_h_ml: Image32, voxel_ml: float) -> tuple[F64, np.ndarray, F64]:
    """Cumulative decays, flat index and sign of the voxels with activity."""
    flat = tia_bq_h_ml.ravel()
    voxels = np.flatnonzero(flat)
    decays = flat[voxels].astype(float) * (voxel_ml * 3600.0)
    return np.cumsum(np.abs(decays)), voxels, np.sign(decays)
