"""From time-integrated activity to absorbed dose."""

from typing import TYPE_CHECKING

from nufitdose.lazy import load_on_first_use

if TYPE_CHECKING:
    from dosimetry.dose.kernels.voxel import voxel_kernel as voxel_kernel
    from dosimetry.dose.registry import ENGINES as ENGINES
    from dosimetry.dose.registry import DoseEngine as DoseEngine
    from dosimetry.dose.registry import absorbed_dose as absorbed_dose
    from dosimetry.dose.registry import dose_parts as dose_parts
    from dosimetry.dose.registry import find_dose_engine as find_dose_engine
    from dosimetry.dose.spheres import sphere_s_value as sphere_s_value
    from dosimetry.dose.values import AbsorbedDose as AbsorbedDose
    from dosimetry.dose.values import DoseRequest as DoseRequest
    from nufitdose.anatomy.density import density_from_ct as density_from_ct
    from nufitdose.anatomy.density import mass_density_g_ml as mass_density_g_ml

_HOME = {
    "ENGINES": "dosimetry.dose.registry",
    "AbsorbedDose": "dosimetry.dose.values",
    "DoseEngine": "dosimetry.dose.registry",
    "DoseRequest": "dosimetry.dose.values",
    "absorbed_dose": "dosimetry.dose.registry",
    "density_from_ct": "nufitdose.anatomy.density",
    "dose_parts": "dosimetry.dose.registry",
    "find_dose_engine": "dosimetry.dose.registry",
    "mass_density_g_ml": "nufitdose.anatomy.density",
    "sphere_s_value": "dosimetry.dose.spheres",
    "voxel_kernel": "dosimetry.dose.kernels.voxel",
}
__all__ = sorted(_HOME)  # noqa: PLE0605


__getattr__ = load_on_first_use(__name__, _HOME)
