"""A digital patient: serial scans of one body whose motion, kinetics and dose-relevant truth are known exactly."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy import ndimage

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.phantom.anatomy import Anatomy, build_anatomy
from nufitdose.phantom.build import Arms, Sex, draw_build
from nufitdose.phantom.composition import Composition
from nufitdose.phantom.fields import BodyMap, jacobian_determinant
from nufitdose.phantom.motion import MotionSize, Mover, motion_lattice
from nufitdose.phantom.scanner import SCANNERS, Scanner, scan, scan_ct
from nufitdose.phantom.texture import SmoothNoise
from nufitdose.phantom.tissues import TISSUES, Region
from nufitdose.phantom.tracer import Distribution, distribute, find_tracer
from nufitdose.phantom.truth import PatientTruth, TimePointTruth, gather_truth
from nufitdose.study import Administration, Structures, Study, TimePoint
from nufitdose.types import Field, Image32
from nufitdose.volume import Quantity, Volume

MOST_TUMOURS = 12
CT_NOISE_HU = 12.0
#: Organs a physician would outline for dosimetry; tumours are outlined too.
OUTLINED = (
    "kidney_left", "kidney_right", "liver", "spleen", "pancreas", "urinary_bladder", "heart", "lung_left",
    "lung_right", "thyroid", "salivary_gland_left", "salivary_gland_right", "prostate",
)  # fmt: skip
_WHOLE = 0.985  # share of an organ that must be in the field of view, of what is in it and in a margin around it


@dataclass(frozen=True, eq=False)
class DigitalPatient:
    """A study in memory and its truth."""

    study: Study
    truth: PatientTruth


@dataclass(frozen=True, eq=False)
class _Imaging:
    """What all time points of one patient share."""

    seed: int
    anatomy: Anatomy
    distribution: Distribution
    scanner: Scanner
    grid: Grid
    padded: Grid
    ct_grid: Grid
    margin: int
    noise: bool
    ct_noise_hu: float
    calibration: float
    contrast: bool
    ct_texture: SmoothNoise = field(repr=False)

    @cached_property
    def hu(self) -> np.ndarray:
        """CT number of every region."""
        tissues = [TISSUES[region.tissue] for region in self.anatomy.regions]
        return np.array([t.enhanced_hu if self.contrast else t.hu for t in tissues])

    @cached_property
    def hu_texture(self) -> np.ndarray:
        """Standard deviation of the CT texture of every region."""
        return np.array([TISSUES[region.tissue].texture_hu for region in self.anatomy.regions])

    def cropped(self, image: Image32) -> Image32:
        """The padded image without its margin."""
        m = self.margin
        return np.ascontiguousarray(image[m:-m, m:-m, m:-m])

    def cropped_composition(self, padded: Composition) -> Composition:
        """The padded composition without its margin."""
        m = slice(self.margin, -self.margin)
        return Composition(self.grid, padded.regions[:, m, m, m], padded.shares[:, m, m, m])

    def true_hu(self, composition: Composition, pull: Field | None) -> Image32:
        """CT numbers without noise."""
        texture = self.ct_texture.on(composition.grid, pull)
        return composition.mean(self.hu) + composition.mean(self.hu_texture) * texture


def simulate_patient(
    *,
    tracer: str = "Lu-177-DOTATATE",
    times_h: Sequence[float] = (4.0, 24.0, 72.0, 168.0),
    shape: Sequence[int] = (96, 96, 96),
    spacing_mm: float = 4.0,
    ct_spacing_mm: float | None = None,
    seed: int = 1,
    patient: str | None = None,
    tumours: int | None = None,
    sex: Sex | None = None,
    arms: Arms | None = None,
    administered_mbq: float | None = None,
    motion: float = 1.0,
    motion_size: MotionSize | None = None,
    count_level: float = 1.0,
    noise: bool = True,
    calibration_error: float = 0.0,
    contrast: bool | None = None,
) -> DigitalPatient:
    """Simulate serial scans of one patient, wholly determined by the arguments.

    `tracer` is a tracer (`Lu-177-DOTATATE`) or a nuclide alone (`Lu-177`); `times_h` are hours after
    administration, the first is the reference. Activity has `shape` voxels of `spacing_mm`; the CT covers the
    same field of view with `ct_spacing_mm` (default: two thirds of `spacing_mm`, at least 2 mm). `tumours` (0 to
    12, default drawn from 2 to 6), `sex`, `arms`, `contrast` (agent in the CT) are drawn where not given. `motion`
    scales `motion_size`; `count_level` scales the counts; `calibration_error` is the relative standard deviation
    of one factor on all activity. Raises `InputError` on arguments that make no sense.
    """
    recipe = find_tracer(tracer)
    _check(times_h, shape, spacing_mm, ct_spacing_mm, seed, tumours, motion, count_level, calibration_error)
    random = np.random.default_rng([seed, 0])
    body = draw_build(random, sex=sex, arms=arms)
    centre = body.at(0.0, -5.0, recipe.centre_z_mm)
    grid = Grid.from_spacing([int(n) for n in shape], (spacing_mm,) * 3, centre_mm=centre.tolist())
    count = int(random.integers(2, 7)) if tumours is None else tumours
    sites = tuple(recipe.sites[n % len(recipe.sites)] for n in range(count))
    inside = (grid.corners_mm().min(axis=0) + 30.0, grid.corners_mm().max(axis=0) - 30.0)
    thyroid_left = float(random.uniform(0.04, 0.15)) if recipe.name == "I-131-NaI" else 1.0
    anatomy = build_anatomy(body, random, tumour_sites=sites, thyroid_left=thyroid_left, inside_mm=inside)
    mbq = administered_mbq or recipe.administered_mbq * float(np.clip(random.normal(1.0, 0.05), 0.85, 1.15))
    if not (np.isfinite(mbq) and mbq > 0):
        raise InputError(f"an administered activity of {mbq} MBq was given, wanted a positive number")
    distribution = distribute(recipe, anatomy.regions, np.random.default_rng([seed, 1]), mbq)
    scanner = SCANNERS[recipe.nuclide].with_counts(count_level)
    margin = int(np.ceil(scanner.reach_mm / spacing_mm))
    padded = Grid.from_spacing([n + 2 * margin for n in grid.shape], grid.spacing_mm, centre_mm=grid.centre_mm.tolist())
    imaging = _Imaging(
        seed=seed,
        anatomy=anatomy,
        distribution=distribution,
        scanner=scanner,
        grid=grid,
        padded=padded,
        ct_grid=grid.resampled(ct_spacing_mm or max(2.0, spacing_mm * 2.0 / 3.0)),
        margin=margin,
        noise=noise,
        ct_noise_hu=CT_NOISE_HU if noise else 0.0,
        calibration=1.0 + calibration_error * float(random.normal()),
        contrast=bool(random.random() < 0.25) if contrast is None else contrast,
        ct_texture=SmoothNoise.draw(random, (6.0, 22.0)),
    )
    return _image_patient(imaging, sorted(float(t) for t in times_h), (motion_size or MotionSize()).scaled(motion),
                          patient or f"sim{seed:04d}")  # fmt: skip


def _image_patient(imaging: _Imaging, times_h: list[float], size: MotionSize, name: str) -> DigitalPatient:
    anatomy = imaging.anatomy
    lattice = motion_lattice(imaging.padded)
    structures = [region.structure for region in anatomy.regions]
    mover = Mover(lattice, anatomy.compose(lattice, subsamples=1).labels, structures)
    rest = anatomy.compose(imaging.padded)
    depth = ndimage.distance_transform_edt(rest.labels != 0, sampling=imaging.padded.spacing_mm).astype(np.float32)
    outlined = _outlined(rest, imaging)
    timepoints, truths = [], []
    for n, time_h in enumerate(times_h):
        pose = BodyMap.identity() if n == 0 else mover.draw(np.random.default_rng([imaging.seed, 2, n]), size)
        timepoint, truth = _image_timepoint(
            imaging, f"tp{n + 1}", time_h, pose, rest if n == 0 else None, depth, outlined
        )
        timepoints.append(timepoint)
        truths.append(truth)
    study = Study(
        patient=name,
        nuclide=imaging.distribution.tracer.nuclide,
        administration=Administration(imaging.distribution.administered_mbq),
        reference_id="tp1",
        timepoints=tuple(timepoints),
    )
    truth_volumes = gather_truth(
        anatomy, imaging.distribution, imaging.cropped_composition(rest), imaging.true_hu, tuple(truths)
    )
    return DigitalPatient(study, truth_volumes)


def _image_timepoint(
    imaging: _Imaging,
    id: str,
    time_h: float,
    pose: BodyMap,
    rest: Composition | None,
    depth_mm: Image32,
    outlined: dict[int, str],
) -> tuple[TimePoint, TimePointTruth]:
    """One scan in its pose: the tissue found at y is that at rest at x(y), its concentration divided by det ∂y/∂x."""
    random = np.random.default_rng([imaging.seed, 3, round(time_h * 3600.0)])
    pull = None if rest is not None else pose.inverse_field(imaging.padded)
    composition = rest if rest is not None else imaging.anatomy.compose(imaging.padded, pull)
    activity = imaging.distribution.activity(composition, time_h, pull)
    if pull is not None:
        activity *= jacobian_determinant(pull, imaging.padded)
    image = scan(activity, depth_mm, imaging.padded, imaging.scanner, random, noise=imaging.noise)
    image *= np.float32(imaging.calibration)
    ct_pull = None if rest is not None else pose.inverse_field(imaging.ct_grid)
    ct_composition = imaging.anatomy.compose(imaging.ct_grid, ct_pull, subsamples=1)
    couch_y = float(imaging.anatomy.body.at(0, -118 - 0.9 * imaging.anatomy.body.fat_mm, 0)[1])
    hu = imaging.true_hu(ct_composition, ct_pull)
    ct = scan_ct(hu, imaging.ct_grid, random, noise_hu=imaging.ct_noise_hu, couch_y_mm=couch_y)
    timepoint = TimePoint.of(
        id,
        time_h,
        Volume(imaging.cropped(image), imaging.grid, Quantity.ACTIVITY),
        Volume(ct, imaging.ct_grid, Quantity.HU),
        _structures(ct_composition, imaging.anatomy.regions, outlined),
    )
    inverse = (
        np.zeros((3, *imaging.grid.shape), dtype=np.float32)
        if pull is None
        else np.stack([imaging.cropped(component) for component in pull])
    )
    truth = TimePointTruth(id, time_h, pose.field(imaging.grid), inverse, pose, imaging.cropped(activity), imaging.grid)
    return timepoint, truth


def _outlined(rest: Composition, imaging: _Imaging) -> dict[int, str]:
    """Label and name of the structures outlined: tumours, and organs that do not reach out of the field of view."""
    regions = imaging.anatomy.regions
    with_margin = rest.volumes_ml(len(regions))
    seen = imaging.cropped_composition(rest).volumes_ml(len(regions))
    names = []
    for name in (*OUTLINED, *(tumour.name for tumour in imaging.anatomy.tumours)):
        numbers = [n for n, region in enumerate(regions) if region.structure == name]
        total = with_margin[numbers].sum()
        if name.startswith("tumour") or (total > 0 and seen[numbers].sum() > _WHOLE * total):
            names.append(name)
    return dict(enumerate(names, start=1))


def _structures(composition: Composition, regions: tuple[Region, ...], outlined: dict[int, str]) -> Structures:
    number = {name: label for label, name in outlined.items()}
    table = np.array([number.get(region.structure, 0) for region in regions], dtype=np.uint8)
    volume = Volume(table[composition.labels], composition.grid, Quantity.LABELS)
    return Structures((volume,), outlined, frozenset(name for name in outlined.values() if name.startswith("tumour")))


def _check(
    times_h: Sequence[float],
    shape: Sequence[int],
    spacing_mm: float,
    ct_spacing_mm: float | None,
    seed: int,
    tumours: int | None,
    motion: float,
    count_level: float,
    calibration_error: float,
) -> None:
    times = sorted(float(t) for t in times_h)
    if not times or not all(np.isfinite(times)) or times[0] < 0 or np.diff(times, prepend=-1.0).min() < 0.01:
        raise InputError(f"times of {list(times_h)} h were given, different hours of 0 or more are wanted")
    if len(shape) != 3 or min(shape) < 16 or max(shape) > 1024:
        raise InputError(f"a shape of {list(shape)} voxels was given, three numbers from 16 to 1024 are wanted")
    for what, spacing in (("spacing", spacing_mm), ("CT spacing", ct_spacing_mm)):
        if spacing is not None and not (np.isfinite(spacing) and 0.5 <= spacing <= 20.0):
            raise InputError(f"a {what} of {spacing} mm was given, 0.5 to 20 mm is wanted")
    if seed < 0:
        raise InputError(f"a seed of {seed} was given, a whole number of 0 or more is wanted")
    if tumours is not None and not 0 <= tumours <= MOST_TUMOURS:
        raise InputError(f"{tumours} tumours were asked for, 0 to {MOST_TUMOURS} are possible")
    if not (np.isfinite(motion) and 0.0 <= motion <= 3.0):
        raise InputError(f"a motion of {motion} was given, a factor from 0 to 3 is wanted")
    if not (np.isfinite(count_level) and count_level > 0):
        raise InputError(f"a count level of {count_level} was given, a positive factor is wanted")
    if not (np.isfinite(calibration_error) and 0.0 <= calibration_error < 0.5):
        raise InputError(f"a calibration error of {calibration_error} was given, 0 to 0.5 is wanted")
