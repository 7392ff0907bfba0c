"""What a patient run found: values only, ready for tables, figures and tests."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosimetry.config import DosimetrySettings
from dosimetry.frames import Frame
from dosimetry.kinetics import OrganFit, VoxelFit
from dosimetry.metrics import DoseVolume, Region
from nufitdose.study import Study
from nufitdose.volume import Volume

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DoseMaps:
    """Voxel curves and what follows from them, on the reference activity grid."""

    fit: VoxelFit
    tia: Volume
    dose: Volume


@dataclass(frozen=True, eq=False)
class StructureResult:
    """One row of metrics.csv and what stands behind it.

    `tia_mbq_h` is the sum of the voxels, `fit` the curve through `activity_mbq`, the structure's activity at
    each time (NaN where a field of view cuts the structure). `dose` has the columns of
    `dose_volume_metrics`; `unregistered` the same without registration, empty where nothing was
    registered. `status_percent` is the share of the volume by `FitStatus` name.
    """

    name: str
    role: str
    region: Region
    mass_g: float
    activity_mbq: F64
    fit: OrganFit
    tia_mbq_h: float
    tiac_h: float
    dose: Mapping[str, float]
    histogram: DoseVolume
    unregistered: Mapping[str, float]
    status_percent: Mapping[str, float]

    @property
    def volume_ml(self) -> float:
        """Volume within the reference scan."""
        return self.region.volume_ml

    @property
    def relative_u_tia(self) -> float:
        """Relative standard uncertainty of the TIA by the fit of the curve; NaN without a degree of freedom."""
        return self.fit.u_tia_mbq_h / self.fit.tia_mbq_h if self.fit.tia_mbq_h > 0 else float("nan")


@dataclass(frozen=True, eq=False)
class PatientResults:
    """Frames, maps and the numbers of every structure; `unregistered` is None where nothing was registered."""

    study: Study
    settings: DosimetrySettings
    frames: tuple[Frame, ...]
    maps: DoseMaps
    dose_uncertainty: Volume
    unregistered_frames: tuple[Frame, ...]
    unregistered: DoseMaps | None
    density: Volume | None
    structures: tuple[StructureResult, ...]
    warnings: tuple[str, ...] = ()

    @property
    def times_h(self) -> F64:
        """Hours after administration of the frames, in order."""
        return np.array([frame.time_h for frame in self.frames])
