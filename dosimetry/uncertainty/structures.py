"""The budget of every structure, from its curve, its images and what is said of the scanner."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dosimetry.config import REST, WHOLE_BODY, UncertaintySettings
from dosimetry.curves.structures import BodyCurves, StructureCurve
from dosimetry.dose import find_dose_engine
from dosimetry.kinetics.averaged_curve import START_LIMIT
from dosimetry.recovery import Recovery
from dosimetry.uncertainty.budget import CURVE, ENGINE, NOISE, NOT_KNOWN, RECOVERY, VOLUME, Budget, Part, Source
from dosimetry.uncertainty.chain import u_diameter_mm
from dosimetry.uncertainty.counting import USUAL_FWHM_MM
from dosimetry.uncertainty.outline import Outline, relative_u_of_rounding
from dosimetry.uncertainty.points import PointErrors
from dosimetry.uncertainty.sensitivity import sensitivities
from dosimetry.uncertainty.sources import Sources
from nufitdose.anatomy.regions import Region
from nufitdose.nuclides import half_life_h
from nufitdose.registration.series import Frame
from nufitdose.scanner import Scanner
from nufitdose.study import Structures, Study
from nufitdose.types import F64
from nufitdose.volume import Volume

#: What a curve is taken to err by where its points leave no degree of freedom: of the order of what was found for
#: three scans and for one (13 and 19 %, PMC8590641).
_UNKNOWN_CURVE = 0.2
#: Between observers on CT, of the order of 5 % of a kidney's volume; chosen here.
_ON_CT_MM = 0.5


@dataclass(frozen=True, eq=False)
class Outlined:
    """How well the outlines of a study are known: mm along their normal, voxel of the label map (mL), and whence."""

    u_mm: float
    voxel_ml: float
    source: Source
    basis: str


def outlined(study: Study, structures: Structures, name: str) -> Outlined:
    """As the study says; else, with CT, what observers differ by; else drawn on the activity, whose blur it has."""
    _, layer = structures.mask(name)
    voxel_ml = layer.grid.voxel_volume_ml
    if structures.u_outline_mm is not None:
        return Outlined(structures.u_outline_mm, voxel_ml, Source.DESCRIBED, "outlines as the study says")
    if study.reference.ct is not None:
        return Outlined(_ON_CT_MM, voxel_ml, Source.ASSUMED, "drawn on CT: two observers")
    fwhm = USUAL_FWHM_MM if study.scanner is None else float(np.mean(study.scanner.fwhm_mm))
    u_mm = 0.5 * u_diameter_mm(max(layer.grid.spacing_mm), fwhm)
    return Outlined(u_mm, voxel_ml, Source.ASSUMED, f"drawn on the activity, FWHM {fwhm:.0f} mm")


@dataclass(frozen=True, eq=False)
class Conditions:
    """What all structures of a run have in common: `density` of the body, its `recovery`, the half-life of the nuclide,
    the engine of the dose, and what is said of the scanner and of uncertainty."""

    recovery: Recovery
    density: Volume | None
    scanner: Scanner | None
    settings: UncertaintySettings
    half_life_h: float
    engine: str


@dataclass(frozen=True, eq=False)
class Measured:
    """One structure as it was measured: curve, errors of its points, voxels, `seen` (an activity image as the scanner
    made it, on the grid of `region`), how well its outline is known and whose activity its dose is from."""

    name: str
    curve: StructureCurve
    errors: PointErrors
    region: Region
    seen: Volume
    outlines: Outlined
    sources: Sources


def structure_budgets(
    study: Study,
    frames: Sequence[Frame],
    regions: Mapping[str, Region],
    curves: BodyCurves,
    errors: Mapping[str, PointErrors],
    recovery: Recovery,
    density: Volume | None,
    own_shares: Mapping[str, float],
    settings: UncertaintySettings,
    engine: str,
) -> dict[str, Budget]:
    """The budget of every region, of the remainder and of the whole body.

    `frames` are as the scanner made them, on the reference grid; `own_shares` (`sources`) of the dose by region;
    `engine` is that of the dose.
    """
    structures = study.structures
    conditions = Conditions(recovery, density, study.scanner, settings, half_life_h(study.nuclide), engine)
    found = {name: _body_budget(curves.of(name), conditions) for name in (REST, WHOLE_BODY)}
    elsewhere = _curve_part(curves.whole_body, ()).tia
    for name, region in regions.items():
        assert structures is not None
        brightest = max(frames, key=lambda frame: region.integral(frame.activity))
        measured = Measured(
            name,
            curves.of(name),
            errors[name],
            region,
            brightest.activity,
            outlined(study, structures, name),
            Sources(own_shares[name], elsewhere),
        )
        found[name] = structure_budget(measured, conditions)
    return found


def _body_budget(curve: StructureCurve, conditions: Conditions) -> Budget:
    """Of the whole body or its remainder: neither outline nor recovery nor motion changes their activity much."""
    return Budget((_curve_part(curve, ()), _calibration(conditions), _engine(conditions.settings)))


def structure_budget(measured: Measured, conditions: Conditions) -> Budget:
    """All parts of one structure."""
    of_own = (
        *_independent(measured.curve, measured.errors, sensitivities(measured.curve, conditions.half_life_h)),
        _recovery(measured.name, conditions.recovery),
        _volume(measured, conditions),
    )
    own_share = measured.sources.own_share
    *by_scan, recovered, volume = (replace(part, dose=own_share * part.dose) for part in of_own)
    engine = _engine(conditions.settings, _departure(measured.region, conditions))
    return Budget((*by_scan, _calibration(conditions), recovered, volume, measured.sources.part, engine))


def _independent(curve: StructureCurve, errors: PointErrors, weights: F64) -> tuple[Part, ...]:
    """What is independent between scans, and what the curve adds to it: rates and the choice of a model.

    u of the curve holds the errors of its points; each cause is carried by the sensitivities, the rest is the curve's.
    """

    def carried(relative_u: F64) -> float:
        return float(np.sqrt(np.sum((weights * relative_u) ** 2)))

    noise, moved, scan = carried(errors.noise), carried(errors.registration), carried(errors.scan)
    largest_mm = float(errors.displaced_mm.max(initial=0.0))
    return (
        _curve_part(curve, (noise, moved, scan)),
        Part(NOISE, noise, noise, errors.noise_source, "how neighbouring voxels differ"),
        Part("registration", moved, moved, errors.registration_source, f"up to {largest_mm:.1f} mm along each axis"),
        Part("scan to scan", scan, scan, errors.scan_source, "attenuation, scatter, dead time of each scan"),
    )


def _curve_part(curve: StructureCurve, of_points: tuple[float, ...]) -> Part:
    """u of the curve less what its points bring in."""
    tia, u_tia = curve.tia_mbq_h, curve.u_tia_mbq_h
    if not (tia > 0 and np.isfinite(u_tia)):
        return Part(CURVE, _UNKNOWN_CURVE, _UNKNOWN_CURVE, Source.ASSUMED, "the points leave no degree of freedom")
    own = math.sqrt(max((u_tia / tia) ** 2 - sum(u**2 for u in of_points), 0.0))
    basis = "spread of the curves that agree with the points"
    if curve.average is not None and curve.average.before_first_fraction > START_LIMIT:
        basis = f"{basis}, {100.0 * curve.average.before_first_fraction:.0f} % of Ã before the first"
    return Part(CURVE, own, own, Source.MEASURED, basis)


def _engine(settings: UncertaintySettings, departure: float = 0.0) -> Part:
    u = math.hypot(settings.dose_percent / 100.0, departure)
    own = f", the engine against transport {100.0 * departure:.1f} %" if departure else ""
    return Part(ENGINE, 0.0, u, Source.ASSUMED, f"S value: spread between codes{own}")


def _departure(region: Region, conditions: Conditions) -> float:
    """Of the engine from transport, measured on anatomies: nothing is added where there is none."""
    if conditions.density is None or region.volume_ml <= 0.0:
        return 0.0
    return find_dose_engine(conditions.engine).departure(region.mean(conditions.density), region.volume_ml)


def _calibration(conditions: Conditions) -> Part:
    calibration = None if conditions.scanner is None else conditions.scanner.calibration
    if calibration is not None:
        u, source, basis = calibration.relative_u, Source.DESCRIBED, "calibration of the scanner, common to all scans"
    else:
        u, source, basis = conditions.settings.calibration_percent / 100.0, Source.ASSUMED, "no calibration described"
    return Part("calibration", u, u, source, basis)


def _recovery(name: str, recovery: Recovery) -> Part:
    """Corrected: what R errs by. Not corrected: by how much the structure reads low or high, as an error."""
    r, u = recovery.value(name), recovery.relative_u(name)
    if not math.isfinite(r):
        return Part(RECOVERY, 0.0, 0.0, Source.ASSUMED, NOT_KNOWN)
    if recovery.method_of(name) != "none":
        return Part(RECOVERY, -u, -u, Source.DESCRIBED, f"corrected, R = {r:.2f}")
    missing = math.hypot(1.0 / r - 1.0, u / r)
    return Part(RECOVERY, missing, missing, Source.ASSUMED, f"not corrected: reads {r:.2f} of what is there")


def _slope(name: str, recovery: Recovery) -> float:
    """d ln R/d ln V where R was applied."""
    return recovery.structures[name][0].volume_slope if recovery.method_of(name) != "none" else 0.0


def _volume(measured: Measured, conditions: Conditions) -> Part:
    """An outline too wide takes in more counts, is corrected for less loss, and has more mass.

    d ln Ã/d ln V is what the image shows at the edge over its mean, less d ln R/d ln V where R was applied; for the
    dose less the density at the edge over its mean: covariances of Ã with R and of Ã with S are in these.
    """
    region, outlines, density = measured.region, measured.outlines, conditions.density
    outline = Outline.of(region, measured.seen.grid)
    u_volume = math.hypot(outlines.u_mm * outline.volume_per_mm, relative_u_of_rounding(outline, outlines.voxel_ml))
    tia = outline.edge(measured.seen, region) - _slope(measured.name, conditions.recovery)
    mass = 1.0 if density is None else outline.edge(density, region)
    return Part(VOLUME, tia * u_volume, (tia - mass) * u_volume, outlines.source, outlines.basis)
