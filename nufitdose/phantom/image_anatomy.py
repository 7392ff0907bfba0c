"""A patient made from images: a label map, and the CT it was drawn on where there is one."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nufitdose.compiled import compiled, over_slabs
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.phantom.composition import (
    KEPT,
    NO_MOTION,
    Composition,
    Scene,
    add_share,
    compose,
    keep_largest,
    look_back,
    voxel_axes,
)
from nufitdose.phantom.shapes import Profile
from nufitdose.phantom.tissues import TISSUES, Compartment, Palette
from nufitdose.phantom.tumours import place_tumours
from nufitdose.types import Field, Image32, Mask
from nufitdose.volume import Quantity, Volume

logger = logging.getLogger(__name__)

#: Part of a label's name -> tissue, the first that fits. Names as TotalSegmentator or ICRP 110 have them fit.
TISSUE_OF = {
    "thymus": "soft", "lymph": "soft", "testis": "soft", "ureter": "soft", "bronch": "soft", "mucosa": "soft",
    "tongue": "soft", "eye": "soft", "tonsil": "soft", "nasal": "soft", "pituitary": "soft",
    "tumour": "tumour", "tumor": "tumour", "lesion": "tumour", "metast": "tumour",
    "cortical": "cortical_bone", "teeth": "cortical_bone", "spongiosa": "spongiosa", "medullary": "spongiosa",
    "cartilage": "cartilage", "air_inside": "gas", "residual": "fat", "skin": "skin", "muscle": "muscle",
    "glute": "muscle", "iliopsoas": "muscle", "autochthon": "muscle", "spinal_cord": "spinal_cord",
    "kidney_left_pelvis": "urine", "kidney_right_pelvis": "urine", "medulla": "kidney_medulla",
    "kidney": "kidney_cortex", "gall": "bile", "liver": "liver", "spleen": "spleen", "pancreas": "pancreas",
    "adrenal": "adrenal", "bladder_wall": "gut_wall", "bladder": "urine", "content": "gut_content",
    "heart_blood": "blood", "aorta": "blood", "vena_cava": "blood", "artery": "blood", "vein": "blood",
    "blood": "blood", "heart": "myocardium", "atri": "myocardium", "ventricle": "myocardium", "lung": "lung",
    "thyroid": "thyroid", "saliv": "salivary_gland", "parotid": "salivary_gland", "prostate": "prostate",
    "uterus": "uterus", "brain": "brain", "breast": "breast", "stomach": "gut_wall", "bowel": "gut_wall",
    "intestine": "gut_wall", "colon": "gut_wall", "duodenum": "gut_wall", "rectum": "gut_wall",
    "esophagus": "gut_wall", "oesophagus": "gut_wall", "trachea": "gas", "vertebra": "spongiosa", "rib": "spongiosa",
    "hip": "spongiosa", "sacrum": "spongiosa", "femur": "spongiosa", "humerus": "spongiosa", "scapula": "spongiosa",
    "clavic": "spongiosa", "sternum": "spongiosa", "skull": "spongiosa", "pelvis": "spongiosa",
}  # fmt: skip
_PARTS = ("_cortex", "_medulla", "_pelvis", "_wall", "_contents", "_content", "_tissue", "_blood")
_UNLABELLED = ((-900.0, "gas"), (-400.0, "lung"), (-30.0, "mesentery"), (180.0, "muscle"), (np.inf, "spongiosa"))


@dataclass(frozen=True, eq=False)
class ImageAnatomy:
    """Compartment numbers and HU on one grid; both are read between their voxels when the patient moves."""

    numbers: Volume
    ct: Volume
    compartments: tuple[Compartment, ...]
    tumours: frozenset[str]

    @property
    def couch_y_mm(self) -> float:
        """The back of the patient; the image has its own couch, if any."""
        inside = np.argwhere((self.numbers.data > 0).any(axis=(0, 2)))[:, 0]
        ends = self.numbers.grid.world(np.array([[0.0, float(j), 0.0] for j in (inside.min(), inside.max())]))
        return float(ends[:, 1].min()) - 60.0

    def compose(self, grid: Grid, pull: Field | None = None, *, subsamples: int = 2) -> Composition:
        """The labels nearest to `subsamples`³ points in every voxel of `grid`."""
        compartments = np.zeros((KEPT, *grid.shape), dtype=np.uint8)
        shares = np.zeros((KEPT, *grid.shape), dtype=np.float32)
        field = NO_MOTION if pull is None else np.ascontiguousarray(pull)
        affine, to_index = (np.ascontiguousarray(a) for a in (grid.affine, self.numbers.grid.inverse_affine))
        numbers = np.ascontiguousarray(self.numbers.data)
        over_slabs(
            _look_up,
            grid.shape[0],
            numbers,
            to_index,
            affine,
            field,
            subsamples,
            len(self.compartments),
            compartments,
            shares,
        )
        return Composition(grid, compartments, shares)

    def hu(self, composition: Composition, pull: Field | None = None) -> Image32:
        """The CT at the resting position of every voxel, linear between its own voxels, air beyond."""
        grid = composition.grid
        points = grid.world(np.moveaxis(np.indices(grid.shape, dtype=np.float64), 0, -1))
        if pull is not None:
            points += np.moveaxis(pull, 0, -1)
        index = np.moveaxis(self.ct.grid.index(points), -1, 0)
        sampled = ndimage.map_coordinates(self.ct.data, index, order=1, mode="constant", cval=-1000.0)
        return np.asarray(sampled, dtype=np.float32)


def anatomy_from_images(
    labels: Volume,
    names: Mapping[int, str],
    ct: Volume | None,
    random: np.random.Generator,
    *,
    inside_mm: tuple[np.ndarray, np.ndarray],
    tumour_sites: tuple[str, ...] = (),
    tumour_mm: tuple[float, float] = (5.0, 60.0),
) -> ImageAnatomy:
    """A patient from a label map with the structure of each label, and its CT.

    The tissue of a label follows from its name (`TISSUE_OF`); what the map leaves out is told by its HU, and is
    air without a CT. Without a CT the HU are those of the tissues. Labels whose name says so are tumours; one more
    is planted at each of `tumour_sites`, centred within the box `inside_mm`. Raises `InputError` when the map has
    labels without a name.
    """
    present = [int(n) for n in np.unique(labels.data) if n != 0]
    unnamed = [n for n in present if n not in names]
    if unnamed:
        raise InputError(f"the labels {unnamed[:10]} have no name", remedy="Name every label of the map")
    grid = labels.grid if ct is None else ct.grid
    drawn = labels.resampled_to(grid).data
    palette = Palette()
    numbers = np.zeros(grid.shape, dtype=np.uint8) if ct is None else _by_hu(ct, palette)
    strange: list[str] = []
    for label in present:
        plain, tissue, structure = _meaning(names[label])
        if tissue is None:
            strange.append(names[label])
        numbers[drawn == label] = palette.compartment(plain, tissue or "soft", structure)
    if strange:
        logger.warning("labels that fit no tissue of the simulator are taken for soft tissue: %s", "; ".join(strange))
    hu = _tissue_hu(numbers, palette) if ct is None else np.clip(ct.data, -1024.0, 3071.0)
    if tumour_sites:
        numbers, hu = _plant(numbers, hu, grid, palette, random, tumour_sites, tumour_mm, inside_mm)
    tumours = frozenset(r.structure for r in palette.compartments if TISSUE_OF["tumour"] in r.tissue and r.structure)
    return ImageAnatomy(
        Volume(numbers, grid, Quantity.LABELS), Volume(hu, grid, Quantity.HU), palette.compartments, tumours
    )


def liver_centre_mm(labels: Volume, names: Mapping[int, str]) -> np.ndarray | None:
    """The centre of the liver, by which a field of view is placed; None without a liver."""
    numbers = [label for label, name in names.items() if _meaning(name)[1] == "liver"]
    inside = np.argwhere(np.isin(labels.data, numbers))
    return labels.grid.world(inside.mean(axis=0)) if len(inside) else None


def _meaning(name: str) -> tuple[str, str | None, str]:
    """A label's name in plain form, its tissue if the name tells, and the structure it is part of."""
    plain = "_".join(name.lower().replace(",", " ").replace("glands", "gland").split())
    tissue = next((tissue for part, tissue in TISSUE_OF.items() if part in plain), None)
    structure = plain
    for part in _PARTS:
        structure = structure.removesuffix(part)
    return plain, tissue, structure


def _by_hu(ct: Volume, palette: Palette) -> NDArray[np.uint8]:
    """Compartments of unlabelled voxels from their HU, air outside the body."""
    body = _body(ct.data > -500.0)
    numbers = np.zeros(ct.grid.shape, dtype=np.uint8)
    low = -np.inf
    for high, tissue in _UNLABELLED:
        numbers[body & (ct.data >= low) & (ct.data < high)] = palette.compartment(f"unlabelled_{tissue}", tissue, "")
        low = high
    return numbers


def _body(dense: Mask) -> Mask:
    """The largest connected piece with its holes filled slice by slice."""
    pieces, count = ndimage.label(ndimage.binary_opening(dense, iterations=2))
    if count == 0:
        return dense
    largest = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    filled = np.stack([ndimage.binary_fill_holes(largest[:, :, k]) for k in range(dense.shape[2])], axis=2)
    return np.asarray(filled, dtype=bool)


def _tissue_hu(numbers: NDArray[np.uint8], palette: Palette) -> Image32:
    table = np.array([TISSUES[compartment.tissue].hu for compartment in palette.compartments], dtype=np.float32)
    return np.asarray(table[numbers])


def _plant(
    numbers: NDArray[np.uint8],
    hu: NDArray[np.float32],
    grid: Grid,
    palette: Palette,
    random: np.random.Generator,
    sites: tuple[str, ...],
    diameters_mm: tuple[float, float],
    inside_mm: tuple[np.ndarray, np.ndarray],
) -> tuple[NDArray[np.uint8], Image32]:
    """Tumours drawn into labels and CT."""
    pure = np.ones((1, *grid.shape), dtype=np.float32)
    points = grid.world(np.moveaxis(np.indices(grid.shape, dtype=np.float64), 0, -1))
    within = ((points > inside_mm[0]) & (points < inside_mm[1])).all(axis=-1)
    placed = place_tumours(Composition(grid, (numbers * within)[None], pure), palette, random, sites, diameters_mm)
    if not placed:
        return numbers, hu
    no_loft = Profile(np.array([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]]))
    tumour = compose(Scene.of([s for t in placed for s in t.solids], [no_loft]), grid)
    own = np.where(tumour.compartments > 0, tumour.shares, 0.0).sum(axis=0)
    table = np.array([TISSUES[compartment.tissue].hu for compartment in palette.compartments])
    table[0] = 0.0
    blended = hu * (1.0 - own) + tumour.mean(table)
    return np.where(own > 0.5, tumour.labels, numbers).astype(np.uint8), np.asarray(blended, dtype=np.float32)


@compiled
@no_type_check
def _look_up(first, last, numbers, to_index, affine, pull, subsamples, n_compartments, compartments, shares):
    """Shares of the labels nearest to the sample points of each voxel."""
    _, _, nj, nk = compartments.shape
    weights, touched = np.zeros(n_compartments), np.zeros(n_compartments + 1, dtype=np.int64)
    point, axes, index = np.empty(3), np.empty((3, 3)), np.empty(3, dtype=np.int64)
    factor = 1.0 / subsamples**3
    for i in range(first, last):
        for j in range(nj):
            for k in range(nk):
                look_back(affine, pull, i, j, k, point)
                voxel_axes(affine, pull, i, j, k, axes)
                for n in range(subsamples**3):
                    u = (n % subsamples + 0.5) / subsamples - 0.5
                    v = (n // subsamples % subsamples + 0.5) / subsamples - 0.5
                    w = (n // subsamples**2 + 0.5) / subsamples - 0.5
                    inside = True
                    for c in range(3):
                        at = to_index[c, 3]
                        for b in range(3):
                            at += to_index[c, b] * (point[b] + axes[b, 0] * u + axes[b, 1] * v + axes[b, 2] * w)
                        index[c] = int(np.floor(at + 0.5))
                        inside = inside and 0 <= index[c] < numbers.shape[c]
                    compartment = numbers[index[0], index[1], index[2]] if inside else 0
                    add_share(weights, touched, compartment, factor)
                keep_largest(weights, touched, compartments, shares, i, j, k)
