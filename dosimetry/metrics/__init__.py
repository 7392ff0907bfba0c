"""Numbers of a structure: volumes, masses, dose-volume metrics."""

from dosimetry.metrics.dvh import DoseVolume, dose_volume_metrics
from nufitdose.anatomy.regions import Region, region_on

__all__ = ["DoseVolume", "Region", "dose_volume_metrics", "region_on"]
