"""BED of structures made of others: each voxel by the tissue and the tempo of the structure that it is of."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dosimetry.biological import alpha_share, curve_protraction, has_rates
from dosimetry.config import DerivedSettings, RadiobiologySettings
from dosimetry.curves.structures import StructureCurve
from dosimetry.metrics.biological import Effect, MixedBiologicalDose, Share, mixed_biological_dose
from dosimetry.metrics.tissues import SETTINGS, TUMOUR, TissueResponse
from dosimetry.results import DoseMaps, StructureResult
from nufitdose.anatomy.regions import Region
from nufitdose.errors import InputError
from nufitdose.types import F64

_KNOWN = 0.99  # share of the mass whose tissue must be known for BED to be stated
_REST = -1  # in place of a structure's number: of none


def check_derived_tissues(derived: Mapping[str, DerivedSettings], settings: RadiobiologySettings) -> None:
    """`InputError` where only half of a derived structure's tissue is given: no table fills in the other half."""
    for name in sorted(derived.keys() & settings.tissues.keys()):
        given = settings.tissues[name]
        if given.alpha_beta_gy is None or given.t_rep_h is None:
            raise InputError(
                f"metrics.radiobiology.tissues.{name} gives only one of alpha_beta_gy and t_rep_h",
                remedy="Give both; or neither, and each of its voxels takes those of the structure that it is of",
            )


def derived_biological_dose(
    name: str,
    asked: DerivedSettings,
    region: Region,
    mass_g: F64,
    maps: DoseMaps,
    structures: Sequence[StructureResult],
    rest: StructureCurve,
    nuclide: str,
    settings: RadiobiologySettings,
) -> MixedBiologicalDose | None:
    """BED of one derived structure; None where the tissue of more than 1 % of its mass, or the RBE, is not known.

    A voxel answers as `settings` say of the derived structure by its name, else as the structure that holds most of it;
    its tempo is that of this structure's curve, outside all structures that of the remainder. The relative uncertainty
    of the doses of one structure is the mean of the map's.
    """
    alpha = alpha_share(nuclide)
    if alpha > 0 and settings.rbe_alpha is None:
        return None
    owners = _owners(asked, region, structures, maps.dose.grid.voxel_volume_ml)
    dose_gy = region.values(maps.dose)
    u_gy = np.full(dose_gy.size, np.nan) if maps.u_dose is None else region.values(maps.u_dose)
    shares = []
    for number in np.unique(owners):
        found = None if number == _REST else structures[number]
        given = _given_response(name, settings)
        effect = (
            _effect(given, found.curve if found else rest, alpha, settings.rbe_alpha or 1.0)
            if given
            else (found.biological.effect if found and found.biological else None)
        )
        if effect is not None:
            mine = owners == number
            shares.append(
                Share(effect, dose_gy[mine], mass_g[mine], _relative_u(u_gy[mine], dose_gy[mine], mass_g[mine]))
            )
    known_g = sum(float(share.mass_g.sum()) for share in shares)
    return mixed_biological_dose(shares) if known_g >= _KNOWN * float(mass_g.sum()) else None


def _owners(
    asked: DerivedSettings, region: Region, structures: Sequence[StructureResult], voxel_ml: float
) -> NDArray[np.int64]:
    """The number of the structure that holds most of each voxel, a tumour where it holds as much; `_REST` where none.

    What only takes away from drawn structures is theirs to the last voxel.
    """
    reaches_out = not asked.of or max(asked.margin_mm, *(asked.shell_mm or (0.0,))) > 0.0
    order = [n for n, one in enumerate(structures) if reaches_out or one.name in asked.of]
    order.sort(key=lambda number: structures[number].role != TUMOUR)
    parts = np.zeros((len(order) + 1, region.index.size))
    for row, number in enumerate(order):
        drawn = structures[number].region
        _, here, there = np.intersect1d(region.index, drawn.index, assume_unique=True, return_indices=True)
        parts[row, here] = drawn.part_ml[there]
    if reaches_out:
        parts[-1] = np.maximum(voxel_ml - parts[:-1].sum(axis=0), 1e-9 * voxel_ml)
    return np.array([*order, _REST], dtype=np.int64)[parts.argmax(axis=0)]


def _given_response(name: str, settings: RadiobiologySettings) -> TissueResponse | None:
    given = settings.tissues.get(name)
    if given is None or given.alpha_beta_gy is None or given.t_rep_h is None:
        return None
    return TissueResponse(given.alpha_beta_gy, given.t_rep_h, given.alpha_per_gy, SETTINGS)


def _effect(response: TissueResponse, curve: StructureCurve, alpha: float, rbe_alpha: float) -> Effect | None:
    if not has_rates(curve):
        return None
    return Effect(response, *curve_protraction(curve, response.t_rep_h), alpha, rbe_alpha)


def _relative_u(u_gy: F64, dose_gy: F64, mass_g: F64) -> float:
    """Of the mean dose, as if all voxels erred alike; NaN where the map does not know 99 % of their energy."""
    known, energy = np.isfinite(u_gy), mass_g * dose_gy
    if not energy.sum() > 0 or energy[known].sum() < _KNOWN * energy.sum():
        return float("nan")
    return float(mass_g[known] @ u_gy[known] / energy.sum())
