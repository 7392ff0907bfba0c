"""Pixels read without trust: what a damaged file leads the decoders into is one error."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.headers import quiet


@contextmanager
def reading_pixels(path: Path, remedy: str = "Copy or export the file again") -> Iterator[None]:
    """Whatever pydicom and its decoders raise in the block becomes an `InputError` that names the file."""
    try:
        with quiet():
            yield
    except Exception as error:
        raise InputError(
            f"the pixels cannot be read, the file looks truncated or damaged ({error})",
            where=path,
            remedy=remedy,
        ) from error
