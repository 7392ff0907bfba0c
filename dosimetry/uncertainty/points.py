"""What each structure's activity errs by at each scan, independently of the other scans."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dosimetry.config import UncertaintySettings
from dosimetry.recovery import Reading
from dosimetry.uncertainty.budget import Source
from dosimetry.uncertainty.counting import USUAL_FWHM_MM, measure_noise
from dosimetry.uncertainty.displacement import relative_change_of_stretch, relative_u_of_shift, u_of_axis_mm
from nufitdose.anatomy.regions import Region
from nufitdose.registration.series import Frame
from nufitdose.scanner import Scanner
from nufitdose.types import F64

#: Mean distance of organ landmarks on digital patients with CT (docs/explanation/registration.md), mm; without
#: registration what the scans were apart. Other engines: as `rigid`.
_USUAL_MM = {"rigid": 6.6, "affine": 6.1, "network": 2.5, "refine": 1.4, "nufit": 1.4}
_UNREGISTERED_MM = 10.0
#: What is left within a structure whose centroids meet: the best that any engine reached there.
_WITHIN_MM = 1.4
_LOST_AT_A_FLAT_SURFACE = 0.5

ReadingOf = Callable[[Frame, str], Reading | None]


@dataclass(frozen=True, eq=False)
class PointErrors:
    """Relative standard uncertainties of one structure's activity [scans], by cause.

    `displaced_mm` [scans] is how far off, along each axis, the registration was taken to be; the sources say where each
    is from.
    """

    noise: F64
    registration: F64
    scan: F64
    displaced_mm: F64
    scan_source: Source
    noise_source: Source
    registration_source: Source

    @property
    def relative_u(self) -> F64:
        """[scans]: all causes together."""
        return np.sqrt(self.noise**2 + self.registration**2 + self.scan**2)


def point_errors(
    frames: Sequence[Frame],
    regions: Mapping[str, Region],
    settings: UncertaintySettings,
    *,
    scanner: Scanner | None = None,
    noise_gain: Mapping[str, F64] | None = None,
    reading: ReadingOf | None = None,
) -> dict[str, PointErrors]:
    """The errors of every region's activity in `frames` as the scanner made them.

    `noise_gain` [scans] is by how much a later correction multiplies the relative noise of a region's activity;
    `reading` is how it reads that activity from a frame, which a shift changes other than the sum over the region where
    neighbours are hotter.
    """
    fwhm_mm = USUAL_FWHM_MM if scanner is None else max(scanner.fwhm_mm)
    calibration = None if scanner is None else scanner.calibration
    described = None if calibration is None else calibration.u_scan_percent
    by_itself = settings.scan_percent if described is None else described
    noise = measure_noise(frames, list(regions.values()), fwhm_mm)
    found = {}
    for name, region in regions.items():
        sums = np.array([region.integral(frame.activity) for frame in frames])
        u_bq = np.array([noise.u_bq(region, frame.activity) for frame in frames])
        by_noise = np.divide(u_bq, sums, out=np.ones_like(sums), where=sums > 0)
        if noise_gain is not None and name in noise_gain:
            by_noise = by_noise * np.where(np.isfinite(noise_gain[name]), noise_gain[name], 1.0)
        displaced = [_displaced_mm(frame, name, settings) for frame in frames]
        u_mm = np.array([mm for mm, _ in displaced])
        shifts = [
            _relative_u_of_motion(frame, name, region, mm, reading) for frame, mm in zip(frames, u_mm, strict=True)
        ]
        found[name] = PointErrors(
            noise=np.minimum(by_noise, 1.0),
            registration=np.array(shifts),
            scan=np.full(sums.size, by_itself / 100.0),
            displaced_mm=u_mm,
            scan_source=Source.ASSUMED if described is None else Source.DESCRIBED,
            noise_source=Source.ASSUMED if noise.assumed else Source.MEASURED,
            registration_source=_weakest([source for _, source in displaced]),
        )
    return found


def _displaced_mm(frame: Frame, structure: str, settings: UncertaintySettings) -> tuple[float, Source]:
    """How far off along each axis a scan lies at a structure, and how that is known."""
    if frame.registration is None:
        return 0.0, Source.MEASURED
    engine = frame.registration.engine
    for row in frame.agreement:
        if row.structure == structure and np.isfinite(row.centroid_after_mm):
            within_mm = 0.0 if engine == "none" else _WITHIN_MM
            return u_of_axis_mm(max(row.centroid_after_mm, within_mm)), Source.MEASURED
    if settings.registration_mm is not None:
        return u_of_axis_mm(settings.registration_mm), Source.DESCRIBED
    for moved in frame.transport:
        if moved.structure == structure and np.isfinite(moved.u_registration_mm) and engine in _USUAL_MM:
            least_mm = u_of_axis_mm(_USUAL_MM[engine])
            return max(moved.u_registration_mm, least_mm), Source.MEASURED
    usual_mm = _UNREGISTERED_MM if engine == "none" else _USUAL_MM.get(engine, _USUAL_MM["rigid"])
    return u_of_axis_mm(usual_mm), Source.ASSUMED


def _relative_u_of_motion(
    frame: Frame, structure: str, region: Region, u_mm: float, reading: ReadingOf | None
) -> float:
    """What a scan that lies `u_mm` off, and what the field's change of the structure's volume, do to its activity.

    Organs keep their volume. A flat surface loses half of its own plateau to a stretch; less is not believed.
    """
    if frame.registration is None and not frame.transport:
        return 0.0
    read = None if reading is None else reading(frame, structure)
    moved = relative_u_of_shift(region, frame.activity, u_mm, read)
    changes = [row.activity_change_percent / 100.0 for row in frame.transport if row.structure == structure]
    if not (changes and np.isfinite(changes[0])):
        return moved
    stretched = abs(relative_change_of_stretch(region, frame.activity, changes[0], read))
    return float(np.hypot(moved, max(stretched, _LOST_AT_A_FLAT_SURFACE * abs(changes[0]))))


def _weakest(sources: Sequence[Source]) -> Source:
    order = list(Source)
    return max(sources, key=order.index)
