"""Fields judged by the true motion of digital patients: errors over landmarks by kind of tissue, and over the body."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from nufitdose.io.truth import Landmarks
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.quality import target_registration_error_mm
from nufitdose.study import TimePoint
from nufitdose.types import Mask

#: Words in the names of structures (of this program's bodies, of ICRP 110 and of TotalSegmentator) that make them bone.
BONE_WORDS = (
    "bone", "rib", "vertebra", "spine", "pelvi", "shoulder_girdle", "humer", "femor", "femur", "ulna", "radii",
    "clavic", "scapul", "stern", "mandible", "cranium", "skull", "sacrum", "hip", "tibia", "ankle", "costal",
)  # fmt: skip
#: Words of what is no organ of its own: soft tissue all over the body, and what bones and lungs are told apart from.
DIFFUSE_WORDS = (
    "muscle", "skin", "residual", "blood_vessel", "lymphatic", "cartilage", "breast", "air_inside", "adipose",
    "gluteus", "autochthon", "iliopsoas",
)  # fmt: skip
TISSUES = ("organ", "tumour", "bone", "lung")


def tissue_of(structure: str) -> str:
    """One of `TISSUES`, or `other` for soft tissue that lies all over the body."""
    if structure.startswith("tumour"):
        return "tumour"
    if structure.startswith("lung"):
        return "lung"
    if any(word in structure for word in DIFFUSE_WORDS):
        return "other"
    bone = any(word in structure for word in BONE_WORDS) and "spinal_cord" not in structure
    return "bone" if bone else "organ"


def landmark_errors_mm(
    field: DisplacementField, fixed: TimePoint, moving: TimePoint, marks: Landmarks
) -> dict[str, float]:
    """`organ_mm`, `tumour_mm`, `bone_mm`, `lung_mm`: means over the landmarks that both scans see; NaN without one."""
    p, q = marks.points[fixed.id], marks.points[moving.id]
    seen = fixed.activity.grid.contains(p) & moving.activity.grid.contains(q)
    error_mm = target_registration_error_mm(field, p, q)
    kinds = np.array([tissue_of(name) for name in marks.structures])
    return {f"{kind}_mm": mean_known(error_mm[seen & (kinds == kind)]) for kind in TISSUES}


def field_error_mm(field: DisplacementField, exact: DisplacementField, moving: TimePoint, inside: Mask) -> float:
    """Mean of `|u - u_exact|` over the body (`inside`, on the grid of `field`) that the moving scan shows."""
    true = exact.on(field.grid)
    counted = inside & true.inside(moving.activity.grid)
    return mean_known(np.linalg.norm(field.data - true.data, axis=0)[counted])


def mean_known(values: Sequence[float] | Float[np.ndarray, " n"]) -> float:
    """The mean of what is known; NaN where nothing is."""
    known = np.asarray(values, dtype=np.float64)
    kept = known[np.isfinite(known)]
    return float(kept.mean()) if kept.size else float("nan")
