"""What a patient run found: values only, ready for tables, figures and tests."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dosimetry.config import REST, DosimetrySettings
from dosimetry.curves.structures import StructureCurve
from dosimetry.dose import AbsorbedDose
from dosimetry.kinetics import OrganFit, VoxelFit
from dosimetry.metrics import DoseVolume, Region
from dosimetry.uncertainty.budget import Budget
from nufitdose.anatomy.prepared import PreparedAnatomy
from nufitdose.registration.series import Frame
from nufitdose.study import Study
from nufitdose.types import F64
from nufitdose.volume import Volume


@dataclass(frozen=True, eq=False)
class DoseMaps:
    """Voxel curves and what follows from them, on the reference activity grid."""

    fit: VoxelFit
    tia: Volume
    absorbed: AbsorbedDose

    @property
    def dose(self) -> Volume:
        """Absorbed dose, Gy."""
        return self.absorbed.dose

    @property
    def u_dose(self) -> Volume | None:
        """Its standard error by the dose engine, Gy; None where that gives none."""
        return self.absorbed.u_dose


@dataclass(frozen=True, eq=False)
class StructureResult:
    """One row of metrics.csv and what stands behind it.

    `tia_mbq_h` is the sum of the voxels, `curve` that of the whole structure. `dose` has the columns of
    `dose_volume_metrics`; `unregistered` the same without registration, empty where nothing was
    registered. `status_percent` is the share of the volume by `FitStatus` name. `budget` holds what Ã and mean dose err
    by.
    """

    name: str
    role: str
    region: Region
    mass_g: float
    curve: StructureCurve
    tia_mbq_h: float
    tiac_h: float
    dose: Mapping[str, float]
    histogram: DoseVolume
    unregistered: Mapping[str, float]
    status_percent: Mapping[str, float]
    budget: Budget

    @property
    def volume_ml(self) -> float:
        """Volume within the reference scan."""
        return self.region.volume_ml

    @property
    def fit(self) -> OrganFit:
        """The fitted curve."""
        return self.curve.fit

    @property
    def relative_u_fit(self) -> float:
        """Relative standard uncertainty of the TIA by the curve alone; NaN without a degree of freedom."""
        tia = self.curve.tia_mbq_h
        return self.curve.u_tia_mbq_h / tia if tia > 0 else float("nan")

    @property
    def u_tia_mbq_h(self) -> float:
        """Standard uncertainty of the TIA, all parts of the budget."""
        return self.budget.relative_u_tia * self.tia_mbq_h

    @property
    def u_dose_mean_gy(self) -> float:
        """Standard uncertainty of the mean dose, all parts of the budget."""
        return self.budget.relative_u_dose * self.dose["dose_mean_gy"]


@dataclass(frozen=True, eq=False)
class PatientResults:
    """Frames, maps and the numbers of every structure; `unregistered` is None where nothing was registered.

    `whole_body` is the curve whose model the voxels of no structure take.
    """

    study: Study
    settings: DosimetrySettings
    frames: tuple[Frame, ...]
    maps: DoseMaps
    unregistered_frames: tuple[Frame, ...]
    unregistered: DoseMaps | None
    anatomy: PreparedAnatomy | None
    structures: tuple[StructureResult, ...]
    whole_body: StructureCurve
    warnings: tuple[str, ...] = ()

    @property
    def density(self) -> Volume | None:
        """Mass density on the dose grid, g/mL; None without CT."""
        return self.anatomy.density if self.anatomy else None

    @property
    def curves(self) -> Mapping[str, StructureCurve]:
        """The curves of the structures, and under "rest" that whose model the other voxels take."""
        return {**{found.name: found.curve for found in self.structures}, REST: self.whole_body}

    @property
    def times_h(self) -> F64:
        """Hours after administration of the frames, in order."""
        return np.array([frame.time_h for frame in self.frames])
