"""Time-activity curves: fits of organs and voxels, and what they integrate to."""

from dosimetry.kinetics.averaged_curve import AveragedCurve
from dosimetry.kinetics.bootstrap import Bootstrap, bootstrap
from dosimetry.kinetics.by_structure import StructuredFit, factor_to_total, fit_by_structure, preserve_total
from dosimetry.kinetics.few_points import (
    haenscheid,
    haenscheid_error,
    physical_decay,
    population_half_life,
    three_point_curve,
    trapezoid,
    trapezoid_phases,
)
from dosimetry.kinetics.guided import estimate_prior, fit_voxels_guided
from dosimetry.kinetics.model_average import average_models
from dosimetry.kinetics.noise import NoiseModel, estimate_noise
from dosimetry.kinetics.organ_fit import OrganFit, aicc, fit_organ
from dosimetry.kinetics.organ_intervals import IntervalMethod, Intervals
from dosimetry.kinetics.organ_shared import fit_shared
from dosimetry.kinetics.rate_prior import RatePrior
from dosimetry.kinetics.scan_times import ScanTimes
from dosimetry.kinetics.selection import ModelChoice, choose_model
from dosimetry.kinetics.status import FitStatus
from dosimetry.kinetics.voxel_fit import fit_voxels, with_common_error
from dosimetry.kinetics.voxel_results import VoxelFit, VoxelFitBuilder

__all__ = [
    "AveragedCurve",
    "Bootstrap",
    "FitStatus",
    "IntervalMethod",
    "Intervals",
    "ModelChoice",
    "NoiseModel",
    "OrganFit",
    "RatePrior",
    "ScanTimes",
    "StructuredFit",
    "VoxelFit",
    "VoxelFitBuilder",
    "aicc",
    "average_models",
    "bootstrap",
    "choose_model",
    "estimate_noise",
    "estimate_prior",
    "factor_to_total",
    "fit_by_structure",
    "fit_organ",
    "fit_shared",
    "fit_voxels",
    "fit_voxels_guided",
    "haenscheid",
    "haenscheid_error",
    "physical_decay",
    "population_half_life",
    "preserve_total",
    "three_point_curve",
    "trapezoid",
    "trapezoid_phases",
    "with_common_error",
]
