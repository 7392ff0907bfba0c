"""Recovery and resolution of a scanner from a scan of spheres of known volume and activity, as of the NEMA phantom."""

from nufitdose.spheres.measurement import SphereReading as SphereReading
from nufitdose.spheres.measurement import read_spheres as read_spheres
from nufitdose.spheres.recovery_fit import RecoveryFit as RecoveryFit
from nufitdose.spheres.recovery_fit import fit_recovery as fit_recovery
from nufitdose.spheres.resolution import ResolutionFit as ResolutionFit
from nufitdose.spheres.resolution import fit_resolution as fit_resolution
