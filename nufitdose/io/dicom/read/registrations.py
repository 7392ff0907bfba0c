"""Spatial registration objects (REG): rigid transforms from one frame of reference into another (PS3.3 C.20.2)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.uid import UID

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.lps import RAS_LPS
from nufitdose.types import Affine

_log = logging.getLogger(__name__)
SPATIAL_REGISTRATION = UID("1.2.840.10008.5.1.4.1.1.66.1")
_RIGID = 1e-3  # how far a matrix may be from a rotation


@dataclass(frozen=True, eq=False)
class Registration:
    """Frames of reference brought into one: `into[uid]` maps RAS+ mm of that frame into the common one."""

    header: Header
    into: dict[str, Affine]

    def between(self, source: str, target: str) -> Affine | None:
        """From the world of one frame to that of another, RAS+ mm; None where the object does not tell."""
        if source not in self.into or target not in self.into:
            return None
        return np.linalg.inv(self.into[target]) @ self.into[source]


def read_registrations(headers: Sequence[Header]) -> list[Registration]:
    """The rigid registrations among these objects; others are passed over with a warning."""
    found = []
    for header in headers:
        if header.sop_class != SPATIAL_REGISTRATION:
            continue
        try:
            found.append(_registration(header))
        except InputError as problem:
            _log.warning("%s; the registration is left out", problem)
    return found


def _registration(header: Header) -> Registration:
    common = header.text("FrameOfReferenceUID")
    into: dict[str, Affine] = {common: np.eye(4)} if common else {}
    for item in header.items("RegistrationSequence"):
        frame = item.required_text("FrameOfReferenceUID")
        matrix = np.eye(4)
        for step in item.items("MatrixRegistrationSequence"):
            for part in step.items("MatrixSequence"):
                matrix = _rigid(part) @ matrix
        into[frame] = RAS_LPS @ matrix @ RAS_LPS
    return Registration(header, into)


def _rigid(part: Header) -> np.ndarray:
    if (kind := part.text("FrameOfReferenceTransformationMatrixType")) not in {"RIGID", ""}:
        raise part.wrong("FrameOfReferenceTransformationMatrixType", f"RIGID is wanted, not {kind}")
    matrix = np.array(part.vector("FrameOfReferenceTransformationMatrix", 16)).reshape(4, 4)
    turn = matrix[:3, :3]
    rigid = np.abs(turn @ turn.T - np.eye(3)).max() < _RIGID and np.linalg.det(turn) > 0.0
    if not rigid or np.abs(matrix[3] - [0.0, 0.0, 0.0, 1.0]).max() > 1e-9:
        raise part.wrong("FrameOfReferenceTransformationMatrix", "a rotation and a shift are wanted")
    return matrix
