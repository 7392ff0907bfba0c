"""Registration: bring the scans of one patient into one frame."""

from nufitdose.registration.field import DisplacementField

__all__ = ["DisplacementField"]
