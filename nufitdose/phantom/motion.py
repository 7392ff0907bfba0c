"""How a patient differs between two scans: breathing, posture, filling, smooth local change, the couch.

The velocity field is a blend of rigid and swelling motions of parts of the body (a log-Euclidean
polyaffine, Arsigny et al. 2009, doi:10.1007/s10851-008-0135-9): `v = Σ w_i V_i / Σ w_i` with weights
`w_i = k_i (1 + (d_i/s)²)^-3` of the distance d_i from part i (k_i = 3 for bones), so that bones and organs move
nearly as wholes and what lies between them gives way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nufitdose.compiled import side_by_side
from nufitdose.grid import Grid
from nufitdose.phantom.fields import BodyMap, exponential, jacobian_determinant, rigid_motion
from nufitdose.phantom.sliding import ChestWall
from nufitdose.phantom.texture import SmoothNoise
from nufitdose.types import Field, Labels

LATTICE_MM = 6.0
_MARGIN_MM = 60.0
_FALL_OFF_MM = 11.0
_BONE_WEIGHT = 3.0
_LEAST_JACOBIAN = 0.25
_BENDS_MM = (100.0, 250.0)  # wavelengths


@dataclass(frozen=True)
class MotionSize:
    """How much moves between two scans (standard deviations unless said otherwise).

    Chosen here, of the order of what is reported: liver cranio-caudal 10-25 mm within a quiet breath (Keall et al.
    2006, AAPM TG-76, Table II, doi:10.1118/1.2349696), kidneys 7.5 mm (Siva et al. 2013,
    doi:10.1186/1748-717X-8-248). What is scanned differs between sessions by the mean position and by breathing.
    """

    breathing_mm: float = 9.0  # of the diaphragm; its size is drawn between 0.5 and 1.6 of this
    kidney_mm: float = 2.5
    bowel_mm: float = 6.0
    local_mm: float = 2.0
    bent_mm: float = 0.0  # of a smooth random velocity that spares nothing and keeps no volume
    posture_deg: float = 1.2
    posture_mm: float = 2.0
    bladder_volume: float = 0.45  # of the logarithm of the volume
    stomach_volume: float = 0.30
    couch_mm: float = 6.0
    couch_deg: float = 0.8

    def scale(self, factor: float) -> "MotionSize":
        """Everything larger by `factor`."""
        return MotionSize(*(factor * getattr(self, name) for name in self.__dataclass_fields__))


#: Beginnings of the names of structures that move together, and the share of the breathing shift they take.
BREATHING = {
    "liver": (("liver", "gallbladder", "gall_bladder", "adrenal_right", "adrenal_gland_right"), 1.0),
    "spleen": (("spleen",), 0.85),
    "stomach": (("stomach",), 0.85),
    "pancreas": (("pancreas", "adrenal_left", "adrenal_gland_left", "duodenum"), 0.65),
    "kidney_left": (("kidney_left",), 0.70),
    "kidney_right": (("kidney_right",), 0.75),
    "heart": (("heart",), 0.45),
    "bowel": (("small_", "colon", "ascending_colon", "transverse_colon", "descending_colon"), 0.35),
}
_BONES = {
    "trunk": ("rib", "shoulder_girdle", "scapula", "clavic", "sternum", "vertebra", "thoracic_spine", "lumbar_spine",
              "cervical_spine", "spinal_cord"),
    "pelvis": ("pelvic_bone", "pelvis", "hip", "sacrum"),
    "femora": ("femora", "femur"),
    "head": ("brain", "skull", "cranium", "mandible"),
    "arms": ("arm_bones", "humer", "ulna", "radi"),
}  # fmt: skip
_BLADDER = ("urinary_bladder",)


@dataclass(frozen=True, eq=False)
class _Part:
    """A part of the body: its distance map (mm, zero inside), centre, and its motion over the lattice."""

    shift_mm: NDArray[np.float64]
    turn_rad: NDArray[np.float64]
    swelling: float
    stiffness: float
    centre_mm: NDArray[np.float64]
    distance_mm: NDArray[np.float32]


def motion_lattice(grid: Grid) -> Grid:
    """A lattice of 6 mm that reaches 60 mm beyond `grid` on all sides."""
    corners = grid.corners_mm()
    low, high = corners.min(axis=0) - _MARGIN_MM, corners.max(axis=0) + _MARGIN_MM
    shape = np.ceil((high - low) / LATTICE_MM).astype(int) + 1
    return Grid.from_spacing(shape.tolist(), (LATTICE_MM,) * 3, centre_mm=((low + high) / 2).tolist())


class Mover:
    """Draws maps of one patient; holds the distance maps of its parts, which all time points share.

    `labels` on `lattice` are compartment numbers, `structures` the structure of each number.
    """

    def __init__(self, lattice: Grid, labels: Labels, structures: Sequence[str]) -> None:
        self.lattice = lattice
        self.distance_mm: dict[str, NDArray[np.float32]] = {}
        self._labels, self._structures = labels, tuple(structures)
        self._centre: dict[str, NDArray[np.float64]] = {}
        groups = {name: members for name, (members, _) in BREATHING.items()} | _BONES | {"bladder": _BLADDER}
        for name, distance in zip(groups, side_by_side(self.distance_to, groups.values()), strict=True):
            if distance is None:
                continue
            self.distance_mm[name] = distance
            self._centre[name] = lattice.world(np.argwhere(distance == 0).mean(axis=0))

    def distance_to(self, names: tuple[str, ...]) -> NDArray[np.float32] | None:
        """Distance (mm, on the lattice) from the structures whose names begin so; None where there are none."""
        numbers = [n for n, structure in enumerate(self._structures) if structure.startswith(names)]
        where = np.isin(self._labels, numbers)
        if not where.any():
            return None
        distance = ndimage.distance_transform_edt(~where, sampling=self.lattice.spacing_mm)
        return np.asarray(distance, dtype=np.float32)

    def draw(
        self,
        random: np.random.Generator,
        size: MotionSize,
        *,
        breath_mm: float = 0.0,
        wall: ChestWall | None = None,
    ) -> BodyMap:
        """One pose; the velocity is damped where needed until the Jacobians of map and inverse exceed 0.25.

        `breath_mm` is a breathing shift of the diaphragm on top of the one drawn. With a `wall` its cranio-caudal
        part is not blended into the velocity but slides along the wall; the same random numbers are drawn.
        """
        breath = size.breathing_mm * random.uniform(0.5, 1.6) * random.choice([-1.0, 1.0]) + breath_mm
        velocity = self._velocity(random, size, breath, sliding=wall is not None)
        centre = self.lattice.centre_mm
        rigid = rigid_motion(random.normal(0, size.couch_mm, 3), random.normal(0, size.couch_deg, 3), centre)
        while True:
            forward = exponential(self.lattice, velocity)
            if jacobian_determinant(forward, self.lattice).min() > _LEAST_JACOBIAN:
                backward = exponential(self.lattice, -velocity)
                if jacobian_determinant(backward, self.lattice).min() > _LEAST_JACOBIAN:
                    return BodyMap(self.lattice, forward, backward, rigid, wall, -float(breath))
            velocity = velocity * np.float32(0.85)

    def _velocity(self, random: np.random.Generator, size: MotionSize, breath: float, *, sliding: bool) -> Field:
        parts = self._parts(random, size, breath, sliding=sliding)
        total = np.zeros(self.lattice.shape, dtype=np.float32)
        velocity = np.zeros((3, *self.lattice.shape), dtype=np.float32)
        axes = [np.arange(n) * s for n, s in zip(self.lattice.shape, self.lattice.spacing_mm, strict=True)]
        x, y, z = np.meshgrid(*(a.astype(np.float32) for a in axes), indexing="ij", sparse=True)
        origin = self.lattice.affine[:3, 3]
        for part in parts:
            near = 1.0 + (part.distance_mm / np.float32(_FALL_OFF_MM)) ** 2
            weight = np.float32(part.stiffness) / (near * near * near)  # a power would take ten times as long
            total += weight
            rx, ry, rz = (p - np.float32(c - o) for p, c, o in zip((x, y, z), part.centre_mm, origin, strict=True))
            (tx, ty, tz), s = part.turn_rad.astype(np.float32), np.float32(part.swelling)
            sx, sy, sz = part.shift_mm.astype(np.float32)
            velocity[0] += weight * (sx + s * rx + ty * rz - tz * ry)
            velocity[1] += weight * (sy + s * ry + tz * rx - tx * rz)
            velocity[2] += weight * (sz + s * rz + tx * ry - ty * rx)
        velocity /= np.maximum(total, np.float32(1e-12))
        velocity += self._local(random, size.local_mm)
        if size.bent_mm > 0:
            bends = [SmoothNoise.draw(random, _BENDS_MM).on(self.lattice) for _ in range(3)]
            velocity += np.float32(size.bent_mm) * np.stack(bends)
        for component in velocity:
            ndimage.gaussian_filter(component, 1.0, output=component, mode="nearest")
        return velocity

    def _parts(self, random: np.random.Generator, size: MotionSize, breath: float, *, sliding: bool) -> list[_Part]:
        parts = []

        def add(name: str, shift: NDArray[np.float64], turn_deg: float, swelling: float = 0.0) -> None:
            turn = np.radians(random.normal(0.0, turn_deg, 3))
            if name in self.distance_mm:
                stiffness = _BONE_WEIGHT if name in _BONES else 1.0
                parts.append(_Part(shift, turn, swelling, stiffness, self._centre[name], self.distance_mm[name]))

        # Inspiration moves organs down and a little forward.
        down = np.array([0.06, 0.25, 0.0 if sliding else -1.0])
        own = {"kidney_left": size.kidney_mm, "kidney_right": size.kidney_mm, "bowel": size.bowel_mm}
        stomach = random.normal(0.0, size.stomach_volume) / 3.0
        for name, (_, share) in BREATHING.items():
            shift = breath * share * down + random.normal(0.0, own.get(name, 0.15 * size.breathing_mm), 3)
            add(name, shift, 1.5 * size.posture_deg, stomach if name == "stomach" else 0.0)
        add("bladder", random.normal(0, 1.5, 3), 0.0, random.normal(0.0, size.bladder_volume) / 3.0)
        trunk = random.normal(0.0, size.posture_mm, 3)
        for name in _BONES:
            chest = np.array([0.0, 0.10 * breath, 0.05 * breath]) if name == "trunk" else np.zeros(3)
            limb = 3.0 if name == "arms" else 1.0
            shift = 0.5 * trunk + chest + limb * random.normal(0.0, 0.5 * size.posture_mm, 3)
            add(name, shift, limb * size.posture_deg)
        return parts

    def _local(self, random: np.random.Generator, local_mm: float) -> Field:
        """A divergence-free random velocity, the curl of a smooth random potential, fading at the bones."""
        coarse = Grid.from_spacing(
            [max(4, n // 3 + 1) for n in self.lattice.shape], (3 * LATTICE_MM,) * 3, centre_mm=self.lattice.centre_mm
        )
        potential = np.stack([SmoothNoise.draw(random, (90.0, 200.0)).on(coarse) for _ in range(3)])
        step = 3 * LATTICE_MM
        d = [[np.gradient(p, step, axis=axis) for axis in range(3)] for p in potential]
        curl = np.stack([d[2][1] - d[1][2], d[0][2] - d[2][0], d[1][0] - d[0][1]])
        curl *= local_mm / max(float(curl.std()), 1e-9)
        near = [self.distance_mm[name] for name in _BONES if name in self.distance_mm]
        fade = np.clip(np.min(near, axis=0) / 40.0, 0.0, 1.0) if near else np.float32(1.0)
        index = coarse.inverse_affine @ self.lattice.affine
        fine = [
            ndimage.affine_transform(
                c, index[:3, :3], index[:3, 3], output_shape=self.lattice.shape, order=1, mode="nearest"
            )
            for c in curl
        ]
        return np.asarray(np.stack(fine) * fade, dtype=np.float32)
