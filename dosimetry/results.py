"""What a patient run found: values only, ready for tables, figures and tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dosimetry.config import REST, DosimetrySettings
from dosimetry.curves.structures import StructureCurve
from dosimetry.dose import AbsorbedDose
from dosimetry.kinetics import OrganFit, VoxelFit
from dosimetry.metrics import DoseVolume, Region
from dosimetry.metrics.biological import BiologicalDose, MixedBiologicalDose
from dosimetry.recovery import UNKNOWN, Recovery
from dosimetry.uncertainty.budget import Budget
from nufitdose.anatomy.prepared import PreparedAnatomy
from nufitdose.registration.series import Frame
from nufitdose.study import Study
from nufitdose.types import F64
from nufitdose.volume import Volume

UNLIKE_CURVE_PERCENT = 5.0  # sums of voxels and curves that differ by more are flagged; chosen here


@dataclass(frozen=True, eq=False)
class DoseMaps:
    """Voxel curves and what follows from them, on the reference activity grid.

    `sum_to_curve` is, by structure, what the integrals of its voxels added to before they were scaled, over its own.
    """

    fit: VoxelFit
    tia: Volume
    absorbed: AbsorbedDose
    sum_to_curve: Mapping[str, float] = field(default_factory=dict)

    @property
    def dose(self) -> Volume:
        """Absorbed dose, Gy."""
        return self.absorbed.dose

    @property
    def u_dose(self) -> Volume | None:
        """Its standard uncertainty, Gy, with what voxels have in common with their structure; None where not known."""
        return self.absorbed.u_dose


@dataclass(frozen=True, eq=False, kw_only=True)
class CurveResult:
    """One row of metrics.csv and what stands behind it: a structure, the whole body, or its remainder.

    `tia_mbq_h` is the sum of the voxels, `curve` that of the whole structure; before they were scaled the voxels added
    to `sum_to_curve` times its integral. `dose` has columns of `dose_volume_metrics`; `unregistered` the same without
    registration, empty where nothing was registered.
    `budget` holds what Ã and mean dose err by. Volume and mass are NaN where no body is known.
    """

    name: str
    role: str
    volume_ml: float
    mass_g: float
    curve: StructureCurve
    tia_mbq_h: float
    tiac_h: float
    dose: Mapping[str, float]
    unregistered: Mapping[str, float]
    budget: Budget
    sum_to_curve: float = float("nan")

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
    def relative_u_tia(self) -> float:
        """u(Ã)/Ã, all parts of the budget."""
        return self.budget.relative_u_tia if self.tia_mbq_h > 0 else float("nan")

    @property
    def u_dose_mean_gy(self) -> float:
        """Standard uncertainty of the mean dose, all parts of the budget."""
        mean_gy = self.dose.get("dose_mean_gy", float("nan"))
        return self.budget.relative_u_dose * mean_gy if mean_gy > 0 else float("nan")

    @property
    def flags(self) -> tuple[str, ...]:
        """What is to be said of the curve and of how its voxels add to it."""
        off = 100.0 * (self.sum_to_curve - 1.0)
        if not abs(off) > UNLIKE_CURVE_PERCENT:
            return self.curve.flags
        return (*self.curve.flags, f"the integrals of its voxels add to {off:+.0f} % of the curve's before scaling")


@dataclass(frozen=True, eq=False, kw_only=True)
class StructureResult(CurveResult):
    """The row of a structure, with its voxels, its histogram, and the share of its volume by `FitStatus` name.

    `biological` is its BED, None where its tissue, the shape of its curve or the RBE of its dose is not known.
    `sphere_gy` is the self-dose of a sphere of its mass, density and tissue, NaN where none was asked for.
    """

    region: Region
    histogram: DoseVolume
    status_percent: Mapping[str, float]
    biological: BiologicalDose | None = None
    sphere_gy: float = float("nan")


@dataclass(frozen=True, eq=False, kw_only=True)
class DerivedResult:
    """The row of a structure made of others, or of a ball: what the maps hold in its voxels; it has no curve.

    `u_dose_mean_gy` is the mean of the voxels' own uncertainties, as if all erred alike: an upper bound, NaN where the
    map does not know them. `biological` is its BED, None where the tissue of its voxels is not known.
    """

    name: str
    volume_ml: float
    mass_g: float
    tia_mbq_h: float
    tiac_h: float
    dose: Mapping[str, float]
    unregistered: Mapping[str, float]
    u_dose_mean_gy: float
    histogram: DoseVolume
    biological: MixedBiologicalDose | None = None


@dataclass(frozen=True)
class RedMarrow:
    """Red marrow by one method, a row of red_marrow.csv; `basis` says what it rests on.

    `tia_mbq_h` is of all red marrow, NaN where its mass was not given. `dose_self_gy` is that of the marrow's own
    electrons and alpha particles, `dose_cross_gy` that of photons from all the body, taken from the vertebra; NaN,
    and the total with it, where no vertebra is drawn or the dose engine follows no photons.
    """

    method: str
    tia_mbq_h_per_ml: float
    u_tia_mbq_h_per_ml: float
    teff_h: float
    dose_self_gy: float
    u_dose_self_gy: float
    tia_mbq_h: float
    u_tia_mbq_h: float
    dose_cross_gy: float
    u_dose_cross_gy: float
    dose_total_gy: float
    u_dose_total_gy: float
    basis: str


class Rows:
    """Structures, whole body and remainder of a run, whether its images are at hand or not."""

    structures: tuple[StructureResult, ...]
    whole_body: CurveResult
    rest: CurveResult | None

    @property
    def curves(self) -> Mapping[str, StructureCurve]:
        """The curves of the structures, and under "rest" that whose model the other voxels take."""
        return {**{found.name: found.curve for found in self.structures}, REST: (self.rest or self.whole_body).curve}

    @property
    def rows(self) -> tuple[CurveResult, ...]:
        """The structures, the remainder where there are structures, and the whole body."""
        return (*self.structures, *([self.rest] if self.rest else []), self.whole_body)

    @property
    def flag_lines(self) -> tuple[str, ...]:
        """What is to be said of the curves, a line for each flag, and whose it is."""
        whose: dict[str, list[str]] = {}
        for row in self.rows:
            for flag in row.flags:
                whose.setdefault(flag, []).append(row.name)
        everyone = len(self.rows)
        return tuple(
            f"{'all' if len(names) == everyone else ', '.join(names)}: {flag}" for flag, names in whose.items()
        )


@dataclass(frozen=True, eq=False)
class PatientResults(Rows):
    """Frames, maps and the numbers of every structure; `unregistered` is the dose (Gy) without registration, None where
    nothing was registered.

    `rest` is the remainder of the body, whose curve gives the voxels of no structure their model; None without
    structures, where it is the whole body. The frames are corrected as `recovery` says, those of `unregistered` alike;
    `measured_frames` are the registered ones before that, empty where nothing changed.
    """

    study: Study
    settings: DosimetrySettings
    frames: tuple[Frame, ...]
    maps: DoseMaps
    unregistered: Volume | None
    anatomy: PreparedAnatomy | None
    structures: tuple[StructureResult, ...]
    whole_body: CurveResult
    rest: CurveResult | None
    warnings: tuple[str, ...] = ()
    recovery: Recovery = UNKNOWN
    measured_frames: tuple[Frame, ...] = ()
    derived: tuple[DerivedResult, ...] = ()
    red_marrow: tuple[RedMarrow, ...] = ()

    @property
    def density(self) -> Volume | None:
        """Mass density on the dose grid, g/mL; None without CT."""
        return self.anatomy.density if self.anatomy else None

    @property
    def left_the_field(self) -> float | None:
        """Share of the emitted energy that lands outside the field of view; None where not followed."""
        return self.maps.absorbed.left_the_field

    @property
    def times_h(self) -> F64:
        """Hours after administration of the frames, in order."""
        return np.array([frame.time_h for frame in self.frames])
