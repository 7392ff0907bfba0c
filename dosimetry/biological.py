"""BED of every structure: the tissue's parameters, the structure's curve, and the map of it all."""

import logging
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from dosimetry.config import MetricsSettings, RadiobiologySettings
from dosimetry.curves.structures import StructureCurve
from dosimetry.kinetics import FitStatus
from dosimetry.metrics import protraction
from dosimetry.metrics.biological import BiologicalDose, Effect, biological_dose
from dosimetry.metrics.dvh import DoseVolume
from dosimetry.metrics.tissues import PUBLISHED, TUMOUR, find_response
from dosimetry.results import StructureResult
from nufitdose.errors import InputError
from nufitdose.nuclides import chain_emissions
from nufitdose.volume import Quantity, Volume

log = logging.getLogger(__name__)

_HALF = 0.5  # a voxel belongs to the structure that holds most of it, if that is at least half of it
_NO_CURVE = (FitStatus.NOTHING, FitStatus.NOT_POSITIVE, FitStatus.HAENSCHEID)  # an integral at best, no rates


def check_metrics(settings: MetricsSettings, structures: Collection[str]) -> None:
    """`InputError` where settings name a structure that the study does not have."""
    _check_names("metrics.geud_a", settings.geud_a, structures)
    _check_names("metrics.radiobiology.tissues", settings.radiobiology.tissues, [*structures, *PUBLISHED])


def _check_names(key: str, given: Iterable[str], known: Collection[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InputError(
            f"{key} names {', '.join(unknown)}, which is no structure of this study",
            remedy=f"Known here: {', '.join(known) or 'none, as no structures are drawn'}",
        )


def alpha_share(nuclide: str) -> float:
    """Share of the energy that stays where a nuclide and its progeny decay that alpha particles and recoils carry."""
    energy = chain_emissions(nuclide)
    return (energy.alpha_mev + energy.recoil_mev) / energy.local_mev if energy.alpha_mev > 0 else 0.0


def warn_of_alpha(nuclide: str, settings: RadiobiologySettings) -> None:
    """Say that a nuclide's alpha particles are not weighted, as no RBE was given."""
    if alpha_share(nuclide) > 0 and settings.rbe_alpha is None:
        log.warning(
            "%s emits alpha particles: doses are physical, and no BED is given, as no RBE is assumed; "
            "set metrics.radiobiology.rbe_alpha for both, beside the physical dose",
            nuclide,
        )


def structure_biological_dose(
    name: str,
    role: str,
    curve: StructureCurve,
    histogram: DoseVolume,
    relative_u_dose: float,
    nuclide: str,
    settings: RadiobiologySettings,
) -> BiologicalDose | None:
    """BED of one structure; None where its tissue, the shape of its curve or the RBE is not known."""
    response, share = find_response(name, role, settings.tissues), alpha_share(nuclide)
    if response is None or not has_rates(curve) or (share > 0 and settings.rbe_alpha is None):
        return None
    value, u = curve_protraction(curve, response.t_rep_h)
    effect = Effect(response, value, u, share, settings.rbe_alpha or 1.0)
    return biological_dose(histogram, effect, relative_u_dose)


def has_rates(curve: StructureCurve) -> bool:
    """Whether a curve is a sum of exponentials from administration on: no trapezoids, no rule for the integral."""
    fit = curve.fit
    return fit.status not in _NO_CURVE and bool(fit.rates_per_h.size) and not fit.rising_share


def curve_protraction(curve: StructureCurve, t_rep_h: float) -> tuple[float, float]:
    """G of a structure's curve and its standard uncertainty.

    Of an average over models the mean and the spread over its curves; of a single fit by u(T_eff) of the last phase,
    the other rates held; NaN never: an error that is not known counts as none.
    """
    if curve.average is not None:
        drawn = curve.average.curves
        values = protraction(drawn.amplitudes_mbq, drawn.rates_per_h, t_rep_h)
        return float(values.mean()), float(values.std())
    amplitudes, rates = curve.fit.amplitudes_mbq, curve.fit.rates_per_h
    value = float(protraction(amplitudes, rates, t_rep_h))
    relative_u = curve.u_teff_h / curve.teff_h
    if not 0 < relative_u < np.inf:
        return value, 0.0
    slower = np.array(rates)
    slower[0] /= 1.0 + relative_u
    return value, abs(float(protraction(amplitudes, slower, t_rep_h)) - value)


def biological_maps(dose: Volume, structures: Collection[StructureResult]) -> Mapping[str, Volume]:
    """BED and EQD2 of the voxels of structures whose tissue is known, under "bed" and "eqd2", Gy; NaN elsewhere.

    A voxel is of the structure that holds most of it, of a tumour where it holds as much; empty without any.
    """
    known = [(found, found.biological.effect) for found in structures if found.biological is not None]
    if not known:
        return {}
    physical, grid = dose.data.reshape(-1).astype(np.float64), dose.grid
    most = np.full(grid.size, _HALF * grid.voxel_volume_ml * (1.0 - 1e-9))
    bed_gy, eqd2_gy = np.full(grid.size, np.nan), np.full(grid.size, np.nan)
    for found in sorted(structures, key=lambda one: one.role == TUMOUR):
        index, part_ml = found.region.index, found.region.part_ml
        mine = part_ml >= most[index]
        index = index[mine]
        most[index] = part_ml[mine]
        if found.biological is None:
            bed_gy[index] = eqd2_gy[index] = np.nan
            continue
        effect = found.biological.effect
        bed_gy[index] = effect.bed_gy(physical[index])
        eqd2_gy[index] = effect.eqd2_gy(bed_gy[index])
    return {
        name: Volume(values.reshape(grid.shape), grid, Quantity.DOSE)
        for name, values in (("bed", bed_gy), ("eqd2", eqd2_gy))
    }
