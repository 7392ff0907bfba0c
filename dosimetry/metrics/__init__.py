"""Numbers of a structure: volumes, masses, dose-volume metrics, biologically effective dose."""

from dosimetry.metrics.dvh import DoseVolume, dose_volume_metrics
from dosimetry.metrics.radiobiology import bed, eqd2, eubed, protraction
from nufitdose.anatomy.regions import Region, region_on

__all__ = ["DoseVolume", "Region", "bed", "dose_volume_metrics", "eqd2", "eubed", "protraction", "region_on"]
