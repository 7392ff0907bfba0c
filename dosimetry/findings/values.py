"""The values themselves: a run's results less its images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dosimetry.burden import TumourBurden
from dosimetry.config import DosimetrySettings
from dosimetry.findings.balance import Balance
from dosimetry.findings.isodoses import IsodoseVolume
from dosimetry.kinetics import FitStatus
from dosimetry.recovery import Recovery
from dosimetry.results import CurveResult, DerivedResult, RedMarrow, Rows, StructureResult
from nufitdose.registration.lights import PairLight
from nufitdose.registration.quality import RegistrationQuality
from nufitdose.registration.structure_quality import StructureAgreement, StructureTransport
from nufitdose.scanner import Scanner
from nufitdose.study import Administration, Details
from nufitdose.types import F64


@dataclass(frozen=True, eq=False)
class Treatment:
    """Who was treated with what; `has_ct` says that the reference scan has one, `sex` is that of the DICOM headers."""

    patient: str
    nuclide: str
    tracer: str | None
    administration: Administration
    reference_id: str
    has_ct: bool
    scanner: Scanner | None
    details: Details
    sex: str | None = None


@dataclass(frozen=True)
class Rigid:
    """How well the rigid motion alone did."""

    quality: RegistrationQuality


@dataclass(frozen=True)
class Pair:
    """A registration without its field."""

    engine: str
    basis: str
    seconds: float
    quality: RegistrationQuality
    unregistered: RegistrationQuality
    rigid: Rigid | None


@dataclass(frozen=True, eq=False)
class Scan:
    """A frame without its image; `u_registration_mm` is the mean over the body, NaN where not known.

    `bed_by_bed`: its slices were acquired one bed after the other.
    """

    id: str
    time_h: float
    total_mbq: float
    bed_by_bed: bool
    registration: Pair | None
    agreement: tuple[StructureAgreement, ...]
    transport: tuple[StructureTransport, ...]
    light: PairLight | None
    u_registration_mm: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Findings(Rows):
    """All that the report says of a run; fields are those of `PatientResults`, images apart.

    `statuses` counts the voxels by how they were fitted, `extrapolated_fraction` is the share of the whole map's Ã
    after the last scan (NaN without activity). `compared`: the run was done without registration too.
    """

    study: Treatment
    settings: DosimetrySettings
    frames: tuple[Scan, ...]
    structures: tuple[StructureResult, ...]
    whole_body: CurveResult
    rest: CurveResult | None
    warnings: tuple[str, ...]
    recovery: Recovery
    balance: Balance
    burden: TumourBurden | None
    derived: tuple[DerivedResult, ...]
    red_marrow: tuple[RedMarrow, ...]
    isodoses: tuple[IsodoseVolume, ...]
    statuses: Mapping[FitStatus, int]
    extrapolated_fraction: float
    compared: bool
    left_the_field: float | None
    statistical_percent: float | None
    voxel_volume_ml: float

    @property
    def with_histograms(self) -> tuple[StructureResult | DerivedResult, ...]:
        """The structures, then those made of them: all that have a dose-volume histogram."""
        return (*self.structures, *self.derived)

    @property
    def with_doses(self) -> tuple[StructureResult | TumourBurden | DerivedResult, ...]:
        """All that have doses, in the order of metrics.csv."""
        return (*self.structures, *((self.burden,) if self.burden else ()), *self.derived)

    @property
    def times_h(self) -> F64:
        """Hours after administration of the scans, in order."""
        return np.array([frame.time_h for frame in self.frames])
