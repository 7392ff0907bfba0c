"""Absorbed dose by local deposition: what electrons, alphas and recoils carry stays in its voxel."""

import numpy as np

from dosimetry.dose.density import floored_density_g_ml
from dosimetry.dose.values import AbsorbedDose, DoseRequest
from nufitdose.nuclides import chain_emissions
from nufitdose.types import Image32
from nufitdose.volume import Quantity, Volume

METHOD = "local deposition of {local_mev} MeV per decay (MIRD schema, emissions of ICRP Publication 107)"
LEFT_OUT = (
    "Photons: {photon_mev} MeV per decay, {photon_percent} of the emitted energy, are not deposited; {local_mev} MeV "
    "of electrons, alphas and recoils stay in their voxel.",
)


def deposit_locally(request: DoseRequest) -> AbsorbedDose:
    """D = c̃ · Δ / ρ with Δ in Gy·g/(MBq·h) of the nuclide and its included progeny, photons excluded (MIRD).

    ρ is bounded below by `density_floor_g_ml`; air outside the body receives no dose. A voxel's dose comes from its
    own activity alone, so its relative error is that of the activity: u(D) = D u(c̃)/c̃.
    """
    tia = request.tia
    energy = np.float32(1e-6 * chain_emissions(request.nuclide).local_gy_g_per_mbq_h)
    dose = tia.with_data(_over_density(tia.data * energy, request), Quantity.DOSE)
    return AbsorbedDose(dose, None if request.u_tia is None else _with_error_of(tia, request.u_tia, dose))


def parts_in_place(request: DoseRequest) -> tuple[Image32, Image32]:
    """As `kernel.parts_in_water`, where all that is deposited stays in its voxel."""
    activity = np.nan_to_num(request.tia.data, posinf=0.0, neginf=0.0)
    return activity, np.zeros_like(activity)


def _over_density(energy: Image32, request: DoseRequest) -> Image32:
    """Energy per volume, Gy·g/mL, over density; written into `energy`."""
    energy /= floored_density_g_ml(request)
    if request.anatomy is not None:
        energy[~request.anatomy.takes_dose] = 0.0
    return energy


def _with_error_of(tia: Volume, u_tia: Volume, dose: Volume) -> Volume:
    relative = np.divide(u_tia.data, tia.data, out=np.zeros_like(tia.data), where=tia.data > 0)
    return dose.with_data(dose.data * relative)
