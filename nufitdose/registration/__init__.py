"""Registration: bring the scans of one patient into one frame."""

from nufitdose.registration.engines.registry import Registration, register
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.quality import RegistrationQuality

__all__ = ["DisplacementField", "Registration", "RegistrationQuality", "register"]
