"""The scans of one patient: each in its own pose, on grids shared by all time points."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nufitdose.grid import Grid
from nufitdose.phantom.anatomy import Anatomy
from nufitdose.phantom.attenuation import correction_error
from nufitdose.phantom.chest_wall import find_chest_wall
from nufitdose.phantom.composition import Composition
from nufitdose.phantom.fields import BodyMap, SidedField
from nufitdose.phantom.motion import MotionSize, Mover, motion_lattice
from nufitdose.phantom.scanner import SimulatedScanner, deep_share, scan, scan_ct
from nufitdose.phantom.tissues import Compartment
from nufitdose.phantom.tracer import Distribution
from nufitdose.phantom.truth import TimePointTruth
from nufitdose.study import Structures, TimePoint
from nufitdose.types import Field, Image32
from nufitdose.volume import Quantity, Volume

#: Organs a physician would outline for dosimetry; tumours are outlined too.
OUTLINED = (
    "kidney_left", "kidney_right", "liver", "spleen", "pancreas", "urinary_bladder", "heart", "lung_left",
    "lung_right", "thyroid", "salivary_gland_left", "salivary_gland_right", "prostate",
)  # fmt: skip
#: Share of an organ that must be in the field of view, of what is in it and in a margin around it.
_WHOLE = 0.985
_WALL_SPACING_MM = 4.0  # of the labels that the chest wall is found from: half a rib
_MOTION, _EMISSION_NOISE, _CT_NOISE, _CT_PHASE = 4, 5, 6, 7  # streams of random numbers


@dataclass(frozen=True, eq=False)
class Protocol:
    """How one patient is imaged: scanner, grids, motion, and what goes wrong on the way.

    `calibration` multiplies every image; it was drawn with the relative standard deviation `calibration_error`.
    """

    seed: int
    scanner: SimulatedScanner
    grid: Grid
    ct_grid: Grid
    motion: MotionSize
    noise: bool
    ct_noise_hu: float
    calibration: float
    ct_breathing_mm: float
    ct_field_mm: float | None
    sliding: bool = False
    calibration_error: float = 0.0

    @property
    def margin(self) -> int:
        """Voxels around the field of view whose activity still spills into it."""
        return int(np.ceil(self.scanner.reach_mm / min(self.grid.spacing_mm)))

    @property
    def padded(self) -> Grid:
        """The activity grid with its margin."""
        shape = [n + 2 * self.margin for n in self.grid.shape]
        return Grid.from_spacing(shape, self.grid.spacing_mm, centre_mm=self.grid.centre_mm.tolist())

    def random(self, stream: int, timepoint: int) -> np.random.Generator:
        """Random numbers of one purpose and time point, whatever else was drawn."""
        return np.random.default_rng([self.seed, stream, timepoint])

    def crop(self, image: np.ndarray) -> np.ndarray:
        """An array whose last three axes are the padded grid's, without the margin."""
        m = slice(self.margin, -self.margin)
        return np.ascontiguousarray(image[..., m, m, m])

    def crop_composition(self, padded: Composition) -> Composition:
        """The padded composition without its margin."""
        return Composition(self.grid, self.crop(padded.compartments), self.crop(padded.shares))


class Imager:
    """Scans one patient; holds what all its time points share: the tissue at rest and the parts that move."""

    def __init__(self, anatomy: Anatomy, distribution: Distribution, protocol: Protocol) -> None:
        self.anatomy, self.distribution, self.protocol = anatomy, distribution, protocol
        lattice = motion_lattice(protocol.padded)
        structures = [compartment.structure for compartment in anatomy.compartments]
        self.mover = Mover(lattice, anatomy.compose(lattice, subsamples=1).labels, structures)
        self.wall = None
        if protocol.sliding:
            fine = protocol.padded.resampled(_WALL_SPACING_MM)
            self.wall = find_chest_wall(self.mover, fine, anatomy.compose(fine, subsamples=1).labels, structures)
        self.rest = anatomy.compose(protocol.padded)
        body = ndimage.distance_transform_edt(self.rest.labels != 0, sampling=protocol.padded.spacing_mm)
        self.depth_mm: Image32 = np.asarray(body, dtype=np.float32)
        self.outlined = self._name_outlined()

    def scan(self, number: int, time_h: float) -> tuple[TimePoint, TimePointTruth]:
        """Time point `number` (0 is the reference, at rest) with its truth.

        The tissue found at y is that at rest at x(y); its concentration is divided by det ∂y/∂x, so that
        motion neither makes nor destroys activity.
        """
        p, name = self.protocol, f"tp{number + 1}"
        size = p.motion if number else p.motion.scale(0.0)
        pose = self.mover.draw(p.random(_MOTION, number), size, wall=self.wall) if number else BodyMap.identity()
        sides = pose.inverse_sides(p.padded) if number else None
        pull = sides.field if sides is not None else None
        composition = self._compose(p.padded, sides) if sides is not None else self.rest
        if sides is None or pull is None:
            activity = self.distribution.activity(composition, time_h)
        else:
            activity = self._carry(composition, time_h, pull, sides.jacobian(p.padded))
        ct_pose = pose
        if p.ct_breathing_mm > 0:
            phase = float(p.random(_CT_PHASE, number).normal(0.0, p.ct_breathing_mm))
            ct_pose = self.mover.draw(p.random(_MOTION, number), size, breath_mm=phase, wall=self.wall)
        image = scan(activity, self.depth_mm, p.padded, p.scanner, p.random(_EMISSION_NOISE, number), noise=p.noise)
        if ct_pose is not pose:
            seen = self.anatomy.hu(composition, pull)
            used_sides = ct_pose.inverse_sides(p.padded)
            used = self.anatomy.hu(self._compose(p.padded, used_sides, subsamples=1), used_sides.field)
            image *= correction_error(seen, used, p.padded, p.scanner.attenuation_per_cm)
        ct, structures = self._ct(ct_pose, number)
        timepoint = TimePoint.of(
            name,
            time_h,
            Volume(p.crop(image) * np.float32(p.calibration), p.grid, Quantity.ACTIVITY),
            Volume(ct, p.ct_grid, Quantity.HU),
            structures,
        )
        inverse = np.zeros((3, *p.grid.shape), dtype=np.float32) if pull is None else p.crop(pull)
        return timepoint, TimePointTruth(name, time_h, pose.field(p.grid), inverse, pose, p.crop(activity), p.grid)

    def _compose(self, grid: Grid, sides: SidedField, *, subsamples: int = 2) -> Composition:
        """The tissue of a moved pose: each side of the chest wall from its own smooth displacement."""
        outer = self.anatomy.compose(grid, sides.outer, subsamples=subsamples)
        if not sides.inside.any():
            return outer
        inner = self.anatomy.compose(grid, sides.inner, subsamples=subsamples)
        inside = sides.inside
        return Composition(
            grid, np.where(inside, inner.compartments, outer.compartments), np.where(inside, inner.shares, outer.shares)
        )

    def _carry(self, moved: Composition, time_h: float, pull: Field, jacobian: Image32) -> Image32:
        """Activity of a moved pose, every compartment keeping its activity at rest exactly.

        `c(y) = c_rest(x(y)) det(∂x/∂y)`; what sampling got wrong of a total (`sampling_correction`) is undone.
        """
        parts = [part * jacobian for part in self.distribution.by_slot(moved, time_h, pull)]
        factors = self.sampling_correction(moved, parts, time_h).astype(np.float32)
        carried = np.zeros(moved.grid.shape, dtype=np.float32)
        for compartments, part in zip(moved.compartments, parts, strict=True):
            carried += part * factors[compartments]
        return carried

    def sampling_correction(self, moved: Composition, parts: list[Image32], time_h: float) -> NDArray[np.float64]:
        """Per compartment, its activity at rest over what the voxels of the moved pose add up to.

        It is 1 for compartments that reach the rim, some of which may have left the grid.
        """
        at_rest = self.distribution.compartment_totals(self.rest, self.distribution.by_slot(self.rest, time_h))
        now = self.distribution.compartment_totals(moved, parts)
        known = (at_rest > 0) & (now > 0)
        for composition in (self.rest, moved):
            for axis in (1, 2, 3):
                for end in (0, -1):
                    known[np.take(composition.compartments, end, axis=axis)] = False
        return np.where(known, at_rest / np.where(known, now, 1.0), 1.0)

    def _ct(self, pose: BodyMap, number: int) -> tuple[Image32, Structures]:
        p = self.protocol
        sides = pose.inverse_sides(p.ct_grid) if number or p.ct_breathing_mm > 0 else None
        pull = None if sides is None else sides.field
        if sides is None:
            composition = self.anatomy.compose(p.ct_grid, subsamples=1)
        else:
            composition = self._compose(p.ct_grid, sides, subsamples=1)
        ct = scan_ct(
            self.anatomy.hu(composition, pull),
            p.ct_grid,
            p.random(_CT_NOISE, number),
            noise_hu=p.ct_noise_hu,
            couch_y_mm=self.anatomy.couch_y_mm,
            field_mm=p.ct_field_mm,
        )
        return ct, _structures(composition, self.anatomy.compartments, self.outlined, self.anatomy.tumours)

    def mean_deep_share(self) -> float:
        """`deep_share` in the mean over the outlined structures, each counting once; over the body where none is."""
        deep, labels = deep_share(self.depth_mm), self.rest.labels
        numbers = [
            [n for n, compartment in enumerate(self.anatomy.compartments) if compartment.structure == name]
            for name in self.outlined.values()
        ]
        masks = [np.isin(labels, group) for group in numbers]
        shares = [float(deep[mask].mean()) for mask in masks if mask.any()]
        return float(np.mean(shares)) if shares else float(deep[labels != 0].mean())

    def _name_outlined(self) -> dict[int, str]:
        """Label and name of the structures outlined: tumours, and organs that do not reach out of the field."""
        compartments, tumours = self.anatomy.compartments, self.anatomy.tumours
        with_margin = self.rest.volumes_ml(len(compartments))
        seen = self.protocol.crop_composition(self.rest).volumes_ml(len(compartments))
        names = []
        for name in (*OUTLINED, *sorted(tumours, key=lambda t: (len(t), t))):
            numbers = [n for n, compartment in enumerate(compartments) if compartment.structure == name]
            total, inside = with_margin[numbers].sum(), seen[numbers].sum()
            if inside > 0 and (name in tumours or inside > _WHOLE * total):
                names.append(name)
        return dict(enumerate(names, start=1))


def _structures(
    composition: Composition, compartments: tuple[Compartment, ...], outlined: dict[int, str], tumours: frozenset[str]
) -> Structures:
    number = {name: label for label, name in outlined.items()}
    table = np.array([number.get(compartment.structure, 0) for compartment in compartments], dtype=np.uint8)
    volume = Volume(table[composition.labels], composition.grid, Quantity.LABELS)
    return Structures((volume,), outlined, tumours & set(number), u_outline_mm=0.0)  # drawn by whom made the body
