"""A digital patient: serial scans of one body whose motion, kinetics and dose-relevant truth are known exactly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nufitdose.compiled import side_by_side
from nufitdose.grid import Grid
from nufitdose.phantom.anatomy import Anatomy, Implant, build_anatomy
from nufitdose.phantom.build import Build, draw_build
from nufitdose.phantom.description import describe_scanner
from nufitdose.phantom.image_anatomy import anatomy_from_images, liver_centre_mm
from nufitdose.phantom.imaging import Imager, Protocol
from nufitdose.phantom.kinetics_tables import Tracer
from nufitdose.phantom.scanner import SCANNERS
from nufitdose.phantom.settings import LabelledImages, PatientSettings, sort_times
from nufitdose.phantom.tracer import distribute, find_tracer
from nufitdose.phantom.truth import PatientTruth, gather_truth
from nufitdose.progress import OnProgress
from nufitdose.study import Administration, Study

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


def simulate_patient(settings: PatientSettings, *, on_progress: OnProgress | None = None) -> DigitalPatient:
    """Simulate serial scans of one patient, wholly determined by `settings`.

    Raises `InputError` when labels of `settings.images` have no name.
    """
    recipe = find_tracer(settings.tracer)
    times_h = sort_times(recipe.times_h if settings.times_h is None else settings.times_h)
    random = np.random.default_rng([settings.seed, _BODY])
    body = draw_build(random, sex=settings.sex, arms=settings.arms)
    height_mm = recipe.centre_z_mm if settings.centre_z_mm is None else settings.centre_z_mm
    centre = _centre_mm(body, height_mm, settings.images)
    grid = Grid.from_spacing([int(n) for n in settings.shape], (settings.spacing_mm,) * 3, centre_mm=centre.tolist())
    anatomy = _make_anatomy(settings, recipe, body, grid, random)
    tracer_random = np.random.default_rng([settings.seed, _TRACER])
    protocol = Protocol(
        seed=settings.seed,
        scanner=SCANNERS[recipe.nuclide].with_counts(settings.count_level).with_resolution(settings.blur),
        grid=grid,
        ct_grid=grid.resampled(settings.ct_spacing_mm or max(2.0, settings.spacing_mm * 2.0 / 3.0)),
        motion=settings.motion_size.scale(settings.motion),
        noise=settings.noise,
        ct_noise_hu=CT_NOISE_HU if settings.noise else 0.0,
        calibration_error=settings.calibration_error,
        calibration=1.0 + settings.calibration_error * float(tracer_random.normal()),
        ct_breathing_mm=settings.ct_breathing_mm,
        ct_field_mm=settings.ct_field_mm,
        sliding=settings.sliding,
    )
    mbq = settings.administered_mbq  # drawn only where not given: what is drawn next depends on it
    mbq = mbq or recipe.administered_mbq * float(np.clip(tracer_random.normal(1.0, 0.05), 0.85, 1.15))
    name = settings.patient or f"sim{settings.seed:04d}"
    return image_patient(anatomy, recipe, protocol, times_h, mbq, tracer_random, name, on_progress)


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
    distribution = distribute(recipe, anatomy.compartments, random, administered_mbq)
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
        scanner=describe_scanner(
            protocol.scanner,
            imager.mean_deep_share(),
            protocol.calibration_error,
            scans_err=protocol.ct_breathing_mm > 0.0,
        ),
        tracer=recipe.name,
    )
    at_rest = protocol.crop_composition(imager.rest)
    return DigitalPatient(study, gather_truth(anatomy, distribution, at_rest, tuple(truth for _, truth in scans)))


def _make_anatomy(
    settings: PatientSettings, recipe: Tracer, body: Build, grid: Grid, random: np.random.Generator
) -> Anatomy:
    """The body that is asked for with its tumours; `random` goes on where the build was drawn."""
    drawn_count, drawn_contrast, drawn_implant = int(random.integers(2, 7)), random.random(), random.random()
    sites = tuple(settings.tumour_sites or recipe.sites)
    count = drawn_count if settings.tumours is None else settings.tumours
    planted = tuple(sites[n % len(sites)] for n in range(count))
    tumour_random, inside_mm = np.random.default_rng([settings.seed, _TUMOURS]), _inside_mm(grid)
    if settings.images is not None:
        given = settings.images
        return anatomy_from_images(
            given.labels,
            given.names,
            given.ct,
            tumour_random,
            inside_mm=inside_mm,
            tumour_sites=planted,
            tumour_mm=settings.tumour_mm,
        )
    drawn: Implant = "hip" if drawn_implant < 0.03 else "spine" if drawn_implant < 0.06 else "none"
    return build_anatomy(
        body,
        np.random.default_rng([settings.seed, _ORGANS]),
        tumour_random,
        inside_mm=inside_mm,
        tumour_sites=planted,
        tumour_mm=settings.tumour_mm,
        thyroid_left=_REMNANT if recipe.name == "I-131-NaI" else 1.0,
        contrast=drawn_contrast < 0.25 if settings.contrast is None else settings.contrast,
        implant=settings.implant or drawn,
    )


def _centre_mm(body: Build, height_mm: float, images: LabelledImages | None) -> NDArray[np.float64]:
    """The middle of the field of view: in the body built, or in the images, by the liver along z."""
    if images is None:
        return body.at(0.0, -5.0, height_mm)
    frame = images.ct or images.labels
    centre, liver = frame.grid.centre_mm.copy(), liver_centre_mm(images.labels, images.names)
    if liver is not None:
        centre[2] = liver[2] + height_mm - _LIVER_Z_MM
    return centre


def _inside_mm(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where tumours may be centred."""
    corners = grid.corners_mm()
    return corners.min(axis=0) + _RIM_MM, corners.max(axis=0) - _RIM_MM
