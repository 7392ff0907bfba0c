"""Compressed pixels of DICOM files, decoded in a process of their own (see `nufitdose.io.guarded`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from pydicom import dcmread
from pydicom.pixels.utils import iter_pixels, pixel_array

from nufitdose.io.guarded import Read, read_guarded


def decode(path: Path, most_bytes: int, frames: Sequence[int] | None = None) -> np.ndarray:
    """Stored values of a file, all or of these frames (from 0); `most_bytes` is what they take once decoded.

    Raises `ReadingError` where the decoder fails, dies, or goes beyond its memory or time.
    """
    _, values = read_guarded(stored_values, most_bytes, path=str(path.absolute()), frames=frames and list(frames))
    return cast(np.ndarray, values)


def stored_values(path: str, frames: Sequence[int] | None) -> Read:
    """The same in this process."""
    dataset = dcmread(path, force=True)
    if frames is None:
        return {}, pixel_array(dataset, raw=True)
    return {}, np.stack(list(iter_pixels(dataset, indices=list(frames), raw=True)))
