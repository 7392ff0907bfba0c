"""Time-activity curves: fits of organs and voxels, and what they integrate to."""

from dosimetry.kinetics.organ_fit import OrganFit, aicc, fit_organ
from dosimetry.kinetics.status import FitStatus
from dosimetry.kinetics.voxel_fit import VoxelFit, fit_voxels

__all__ = ["FitStatus", "OrganFit", "VoxelFit", "aicc", "fit_organ", "fit_voxels"]
