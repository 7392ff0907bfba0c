"""Absorbed dose by convolution with the kernels of the nuclide, photons among them."""

from typing import TYPE_CHECKING

import numpy as np

from dosimetry.dose.density import floored_density_g_ml
from dosimetry.dose.values import AbsorbedDose, DoseRequest
from nufitdose.types import Image32
from nufitdose.volume import Quantity, Volume

if TYPE_CHECKING:
    from dosimetry.dose.body_effect import BodyEffect
    from dosimetry.dose.convolution import Resources
    from dosimetry.dose.spreading import KernelDose

_UNKNOWN = 0.01  # of a voxel's dose: what may come from activity of unknown error before its own is not known

_SMALL_ML, _SOFT_G_ML = 20.0, (0.7, 1.1)
_U_SOFT, _U_LUNG_OR_BONE, _U_SMALL = 0.005, 0.011, 0.02

METHOD = (
    "convolution with kernels of water (emissions of ICRP Publication 107): electrons, alphas and recoils "
    "({local_mev} MeV per decay) divided by the mass of the voxel they reach, photons ({photon_mev} MeV per decay) "
    "corrected for the body by a short transport on a coarse grid,"
)
LEFT_OUT = (
    "Kernels are used because they agree with Monte Carlo on digital patients, I-131 and Lu-177: within 2 % in organs "
    "and tumours. Thin bone and skin were off by up to 3 %; bronchi and structures below 20 mL in bone, beside air or "
    "at the edge of the field of view (mandible, adrenals, arm bones, trachea, eyes, breast) by up to 5.3 %.",
    "Activity outside the field of view gives no dose.",
    "The error of a voxel's dose is an upper bound: the errors of the activities that reach it are added as if all of "
    "them erred in the same direction, photons included.",
)


def convolve_with_kernels(request: DoseRequest) -> AbsorbedDose:
    """D_i = Σ_j K_ij c̃_j, charged particles by a short kernel over the local mass, photons by a long one of water.

    ρ is bounded below by `density_floor_g_ml`, and air outside the body receives no dose. Photons spread as in water of
    the median ρ of the voxels that take dose; with a CT they are then corrected for the body (`body_effect`).
    Activity that is not a number gives none to others, and its own voxel's dose is none.

    u(D_i) = Σ_j K_ij u(c̃_j), the largest that any correlation between voxels allows, and the local engine's where
    nothing leaves its voxel; NaN where more than 1 % of the dose comes from voxels whose u(c̃) is not known. The
    statistical errors of the kernels, far smaller, are not in it.
    """
    tia, density = request.tia, floored_density_g_ml(request)
    known = np.isfinite(tia.data)
    emitted = np.where(known, tia.data, np.float32(0.0))
    found = _spread(np.maximum(emitted, 0.0), density, request)
    dose_gy = found.dose_gy
    if (emitted < 0.0).any():
        dose_gy -= _spread(np.maximum(-emitted, 0.0), density, request, found.effect).dose_gy
    u_gy = None
    if request.u_tia is not None:
        u_gy = propagate_error_gy(request.u_tia, emitted, dose_gy, density, request, found.effect)
    dose_gy[~known] = np.nan
    u_dose = None if u_gy is None else tia.with_data(mask_air(u_gy, request), Quantity.DOSE)
    return AbsorbedDose(tia.with_data(mask_air(dose_gy, request), Quantity.DOSE), u_dose, found.left_the_field)


def departure_from_transport(density_g_ml: float, volume_ml: float) -> float:
    """Root mean square of the relative departure of a structure's mean dose from the engine `montecarlo`.

    On six digital patients and the ICRP man, by tissue and size (docs/explanation/physics.md).
    """
    if volume_ml < _SMALL_ML:
        return _U_SMALL
    return _U_SOFT if _SOFT_G_ML[0] < density_g_ml < _SOFT_G_ML[1] else _U_LUNG_OR_BONE


def propagate_error_gy(
    u_tia: Volume,
    emitted: Image32,
    dose_gy: Image32,
    density: Image32 | float,
    request: DoseRequest,
    effect: "BodyEffect | None" = None,
) -> Image32:
    """Σ_j K_ij u(c̃_j); NaN where more than 1 % of the dose comes from activity of unknown error.

    `effect` is what the body does to the dose's photons: those of the errors are taken to fare alike.
    """
    active = emitted > 0.0
    unknown = active & ~np.isfinite(u_tia.data)
    if unknown.sum() == active.sum():
        return np.where(dose_gy > 0.0, np.float32(np.nan), np.float32(0.0))
    u_gy = _spread(np.where(active & ~unknown, u_tia.data, np.float32(0.0)), density, request, effect).dose_gy
    if unknown.any():
        by_unknown_gy = _spread(np.where(unknown, emitted, np.float32(0.0)), density, request, effect).dose_gy
        u_gy[by_unknown_gy > _UNKNOWN * dose_gy] = np.nan
    return u_gy


def _spread(
    tia_bq_h_ml: Image32, density: Image32 | float, request: DoseRequest, effect: "BodyEffect | None" = None
) -> "KernelDose":
    from dosimetry.dose.body_effect import Surroundings
    from dosimetry.dose.spreading import kernel_dose  # it loads what compiles the kernels

    anatomy = request.anatomy
    return kernel_dose(
        tia_bq_h_ml,
        request.nuclide,
        request.tia.grid.spacing_mm,
        density,
        photon_density_g_ml=_body_density_g_ml(density, request),
        surroundings=None if anatomy is None else Surroundings(anatomy.density.data, anatomy.tissue),
        effect=effect,
        resources=_resources(request),
    )


def parts_in_water(request: DoseRequest) -> tuple[Image32, Image32]:
    """What charged particles and what photons would leave in water, without a body: how each goes with the activity.

    Charged particles at 1 g/mL; activity that is not a number gives nothing.
    """
    from dosimetry.dose.spreading import spread_in_water  # it loads what compiles the kernels

    grid, anatomy = request.tia.grid, request.anatomy
    bq_h = np.nan_to_num(request.tia.data, posinf=0.0, neginf=0.0) * np.float32(grid.voxel_volume_ml)
    density = _body_density_g_ml(1.0 if anatomy is None else anatomy.density.data, request)
    return spread_in_water(bq_h, request.nuclide, grid.spacing_mm, density, resources=_resources(request))


def _resources(request: DoseRequest) -> "Resources":
    from numba import get_num_threads

    from dosimetry.dose.convolution import Resources

    return Resources(get_num_threads(), request.settings.memory_mb, request.device)


def _body_density_g_ml(density: Image32 | float, request: DoseRequest) -> float:
    """Median over the voxels that take dose, soft tissue; what is set for scans without CT where none does."""
    if request.anatomy is None or not request.anatomy.takes_dose.any():
        return request.settings.density_without_ct_g_ml
    return float(np.median(np.asarray(density)[request.anatomy.takes_dose]))


def mask_air(values: Image32, request: DoseRequest) -> Image32:
    """The values with 0 where no dose is taken; written into `values`."""
    if request.anatomy is not None:
        values[~request.anatomy.takes_dose] = 0.0
    return values
