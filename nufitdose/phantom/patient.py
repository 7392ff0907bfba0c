"""A digital patient: serial scans of one body whose motion, kinetics and dose-relevant truth are known exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nufitdose.compiled import side_by_side
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.phantom.anatomy import Anatomy, Implant, build_anatomy
from nufitdose.phantom.build import Arms, Build, Sex, draw_build
from nufitdose.phantom.checks import Limits, require
from nufitdose.phantom.image_anatomy import anatomy_from_images, liver_centre_mm
from nufitdose.phantom.imaging import Imager, Protocol
from nufitdose.phantom.kinetics_tables import Tracer
from nufitdose.phantom.motion import MotionSize
from nufitdose.phantom.scanner import SCANNERS
from nufitdose.phantom.tracer import distribute, find_tracer
from nufitdose.phantom.truth import PatientTruth, gather_truth
from nufitdose.phantom.tumours import SITES
from nufitdose.progress import OnProgress
from nufitdose.study import Administration, Study
from nufitdose.volume import Volume

MOST_TUMOURS = 12
CT_NOISE_HU = 12.0
_LIVER_Z_MM = 50.0  # height of the liver in the body that `centre_z_mm` refers to
_RIM_MM = 30.0  # tumours are centred at least so far inside the field of view
_REMNANT = 0.08  # share of the thyroid that is left after surgery
_BODY, _ORGANS, _TUMOURS, _TRACER = 0, 1, 2, 3  # streams of random numbers


@dataclass(frozen=True, eq=False)
class DigitalPatient:
    """A study in memory and its truth."""

    study: Study
    truth: PatientTruth


def simulate_patient(
    *,
    tracer: str = "Lu-177-DOTATATE",
    times_h: Sequence[float] | None = None,
    shape: Sequence[int] = (96, 96, 96),
    spacing_mm: float = 4.0,
    ct_spacing_mm: float | None = None,
    seed: int = 1,
    patient: str | None = None,
    sex: Sex | None = None,
    arms: Arms | None = None,
    labels: Volume | None = None,
    label_names: Mapping[int, str] | None = None,
    ct: Volume | None = None,
    tumours: int | None = None,
    tumour_sites: Sequence[str] | None = None,
    tumour_mm: tuple[float, float] = (5.0, 60.0),
    centre_z_mm: float | None = None,
    administered_mbq: float | None = None,
    motion: float = 1.0,
    motion_size: MotionSize | None = None,
    sliding: bool = False,
    count_level: float = 1.0,
    noise: bool = True,
    calibration_error: float = 0.0,
    contrast: bool | None = None,
    implant: Implant | None = None,
    ct_breathing_mm: float = 0.0,
    ct_field_mm: float | None = None,
    on_progress: OnProgress | None = None,
) -> DigitalPatient:
    """Simulate serial scans of one patient, wholly determined by the arguments.

    `tracer` is a tracer (`Lu-177-DOTATATE`) or a nuclide alone (`Lu-177`); `times_h` are hours after
    administration (default: usual for the tracer), the first is the reference. Activity has `shape` voxels of
    `spacing_mm`; the CT covers the same field of view with `ct_spacing_mm` (default two thirds of `spacing_mm`, at
    least 2 mm). `centre_z_mm` is the middle of the field of view, in a body of 176 cm above the lower end of L1
    (default by tracer). `tumours` (0 to 12; default 2 to 6) have diameters within `tumour_mm` and grow at
    `tumour_sites`, taken in turn (default by tracer). With the same seed, sites and centre two tracers see the same
    body and the same tumours.

    With `labels` and `label_names` (label -> structure) the patient is not built but taken from images: a label map
    and, where there is one, the `ct` it belongs to; the field of view is centred on them, by the liver along z.

    `motion` scales `motion_size`; with `sliding` lungs and upper abdomen slide along the inner chest wall as they
    breathe, and the fields are discontinuous there. `count_level` scales the counts; `calibration_error` is the
    relative standard deviation of one factor on all activity; `ct_breathing_mm` that of the diaphragm between
    emission and CT (attenuation correction suffers too); `ct_field_mm` truncates the CT to a circle. `sex`, `arms`,
    `contrast` (agent in the CT) and `implant` are drawn where not given. Raises `InputError` on arguments
    that make no sense.
    """
    recipe = find_tracer(tracer)
    times = check_times(recipe.times_h if times_h is None else times_h)
    _check(shape, spacing_mm, ct_spacing_mm, seed, tumours, tumour_sites, tumour_mm)
    if ct is not None and labels is None:
        raise InputError("a CT was given as the anatomy without its labels", remedy="Give the label map of its organs")
    _check_imaging(motion, count_level, calibration_error, ct_breathing_mm, ct_field_mm, administered_mbq)
    random = np.random.default_rng([seed, _BODY])
    body = draw_build(random, sex=sex, arms=arms)
    drawn_count, drawn_contrast, drawn_implant = int(random.integers(2, 7)), random.random(), random.random()
    height_mm = recipe.centre_z_mm if centre_z_mm is None else centre_z_mm
    centre = _centre_mm(body, height_mm, labels, label_names or {}, ct)
    grid = Grid.from_spacing([int(n) for n in shape], (spacing_mm,) * 3, centre_mm=centre.tolist())
    sites = tuple(tumour_sites or recipe.sites)
    count = drawn_count if tumours is None else tumours
    planted = tuple(sites[n % len(sites)] for n in range(count))
    tumour_random, inside_mm = np.random.default_rng([seed, _TUMOURS]), _inside_mm(grid)
    anatomy: Anatomy
    if labels is not None:
        anatomy = anatomy_from_images(
            labels, label_names or {}, ct, tumour_random, inside_mm=inside_mm, tumour_sites=planted, tumour_mm=tumour_mm
        )
    else:
        anatomy = build_anatomy(
            body,
            np.random.default_rng([seed, _ORGANS]),
            tumour_random,
            inside_mm=inside_mm,
            tumour_sites=planted,
            tumour_mm=tumour_mm,
            thyroid_left=_REMNANT if recipe.name == "I-131-NaI" else 1.0,
            contrast=drawn_contrast < 0.25 if contrast is None else contrast,
            implant=implant or ("hip" if drawn_implant < 0.03 else "spine" if drawn_implant < 0.06 else "none"),
        )
    tracer_random = np.random.default_rng([seed, _TRACER])
    protocol = Protocol(
        seed=seed,
        scanner=SCANNERS[recipe.nuclide].with_counts(count_level),
        grid=grid,
        ct_grid=grid.resampled(ct_spacing_mm or max(2.0, spacing_mm * 2.0 / 3.0)),
        motion=(motion_size or MotionSize()).scaled(motion),
        noise=noise,
        ct_noise_hu=CT_NOISE_HU if noise else 0.0,
        calibration=1.0 + calibration_error * float(tracer_random.normal()),
        ct_breathing_mm=ct_breathing_mm,
        ct_field_mm=ct_field_mm,
        sliding=sliding,
    )
    mbq = administered_mbq or recipe.administered_mbq * float(np.clip(tracer_random.normal(1.0, 0.05), 0.85, 1.15))
    name = patient or f"sim{seed:04d}"
    return image_patient(anatomy, recipe, protocol, times, mbq, tracer_random, name, on_progress)


def image_patient(
    anatomy: Anatomy,
    recipe: Tracer,
    protocol: Protocol,
    times_h: Sequence[float],
    administered_mbq: float,
    random: np.random.Generator,
    name: str,
    on_progress: OnProgress | None = None,
) -> DigitalPatient:
    """Inject a tracer into an anatomy and scan it at each of `times_h`; the first is the reference, at rest."""
    distribution = distribute(recipe, anatomy.regions, random, administered_mbq)
    imager = Imager(anatomy, distribution, protocol)
    scans = []
    for scan in side_by_side(lambda job: imager.scan(*job), enumerate(times_h)):
        scans.append(scan)
        if on_progress is not None:
            on_progress(len(scans) / len(times_h))
    study = Study(
        patient=name,
        nuclide=recipe.nuclide,
        administration=Administration(administered_mbq),
        reference_id="tp1",
        timepoints=tuple(timepoint for timepoint, _ in scans),
    )
    at_rest = protocol.cropped_composition(imager.rest)
    return DigitalPatient(study, gather_truth(anatomy, distribution, at_rest, tuple(truth for _, truth in scans)))


def _centre_mm(
    body: Build, height_mm: float, labels: Volume | None, names: Mapping[int, str], ct: Volume | None
) -> NDArray[np.float64]:
    """The middle of the field of view: in the body built, or in the images, by the liver along z."""
    frame = ct or labels
    if frame is None or labels is None:
        return body.at(0.0, -5.0, height_mm)
    centre, liver = frame.grid.centre_mm.copy(), liver_centre_mm(labels, names)
    if liver is not None:
        centre[2] = liver[2] + height_mm - _LIVER_Z_MM
    return centre


def _inside_mm(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where tumours may be centred."""
    corners = grid.corners_mm()
    return corners.min(axis=0) + _RIM_MM, corners.max(axis=0) - _RIM_MM


def check_times(times_h: Sequence[float]) -> list[float]:
    """Times in order; `InputError` unless they are different hours of 0 or more."""
    times = sorted(float(t) for t in times_h)
    if not times or not all(np.isfinite(times)) or times[0] < 0 or np.diff(times, prepend=-1.0).min() < 0.01:
        raise InputError(f"times of {list(times_h)} h were given, different hours of 0 or more are wanted")
    return times


def _check(
    shape: Sequence[int],
    spacing_mm: float,
    ct_spacing_mm: float | None,
    seed: int,
    tumours: int | None,
    tumour_sites: Sequence[str] | None,
    tumour_mm: tuple[float, float],
) -> None:
    if len(shape) != 3 or min(shape) < 16 or max(shape) > 1024:
        raise InputError(f"a shape of {list(shape)} voxels was given, three numbers from 16 to 1024 are wanted")
    require("a spacing", spacing_mm, Limits(0.5, 20.0), "mm")
    require("a CT spacing", ct_spacing_mm, Limits(0.5, 20.0), "mm")
    require("a seed", seed, Limits(0, 2**63 - 1))
    require("a number of tumours", tumours, Limits(0, MOST_TUMOURS))
    for diameter in tumour_mm:
        require("a tumour diameter", diameter, Limits(2.0, 150.0), "mm")
    unknown = sorted(set(tumour_sites or ()) - set(SITES))
    if unknown:
        raise InputError(f"the tumour sites {unknown} are unknown", remedy=f"Known sites: {', '.join(SITES)}")


def _check_imaging(
    motion: float,
    count_level: float,
    calibration_error: float,
    ct_breathing_mm: float,
    ct_field_mm: float | None,
    administered_mbq: float | None,
) -> None:
    require("a motion factor", motion, Limits(0.0, 3.0))
    require("a count level", count_level, Limits(1e-6, 1e6))
    require("a calibration error", calibration_error, Limits(0.0, 0.5))
    require("a breathing difference", ct_breathing_mm, Limits(0.0, 40.0), "mm")
    require("a CT field", ct_field_mm, Limits(50.0, 2000.0), "mm")
    require("an administered activity", administered_mbq, Limits(1e-3, 1e6), "MBq")
