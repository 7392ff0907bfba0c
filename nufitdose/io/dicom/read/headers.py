"""Headers of DICOM files, read without trust.

Headers are read without pixels. Every value is fetched through a `Header` method that names the file and
the tag when the value is missing or damaged; pydicom converts values on first use, so any of its errors
can surface there.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydicom import config, dcmread
from pydicom.datadict import keyword_dict
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, NuclearMedicineImageStorage

from nufitdose.errors import InputError
from nufitdose.printable import one_line

T = TypeVar("T")
_PREAMBLE = 132
_LARGEST = 1e30  # no physical quantity comes near it, in any unit
IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_EXPORT_AGAIN = "Export the series again, or take the damaged file out of the folder"


@dataclass(frozen=True, eq=False)
class Header:
    """One DICOM object without its pixels.

    `dataset` may be an item of a sequence (see `items`); `trail` then says which. Methods raise
    `InputError` naming the file and the tag.
    """

    path: Path
    dataset: Dataset
    bytes_after_header: int = 0
    trail: str = ""

    def has(self, keyword: str) -> bool:
        """Whether the attribute is present with a value."""
        value = self._value(keyword)
        return value is not None and not (hasattr(value, "__len__") and len(value) == 0)

    def text(self, keyword: str) -> str:
        """The attribute as text without padding; empty where absent. Several values are joined by a backslash."""
        return "\\".join(self.texts(keyword))

    def texts(self, keyword: str) -> tuple[str, ...]:
        """All values of the attribute as text; none where absent."""
        if not self.has(keyword):
            return ()
        value = self._value(keyword)
        many = [value] if isinstance(value, str | bytes) or not isinstance(value, Sequence) else value
        return tuple(self._convert(keyword, lambda: [_as_shown(str(v).strip().strip("\x00")) for v in many]))

    def image_type(self) -> tuple[str, ...]:
        """ImageType (0008,0008); a list that was written as the text of a list (PyTomography) is taken apart."""
        values = self.texts("ImageType")
        if len(values) == 1 and values[0].startswith("["):
            return tuple(re.findall(r"'([^']*)'", values[0]))
        return values

    def required_text(self, keyword: str, remedy: str = _EXPORT_AGAIN) -> str:
        """The attribute as text; `InputError` where absent."""
        if not (text := self.text(keyword)):
            raise self.missing(keyword, remedy)
        return text

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """All values of the attribute as finite numbers; none where absent."""
        found = tuple(self._convert(keyword, lambda: [float(v) for v in self.texts(keyword)]))
        if not all(abs(value) < _LARGEST for value in found):  # not true of NaN either
            raise self.wrong(keyword, "finite numbers are wanted")
        return found

    def number(self, keyword: str) -> float | None:
        """The attribute as one finite number, or None where absent."""
        found = self.numbers(keyword)
        if len(found) > 1:
            raise self.wrong(keyword, "one number is wanted")
        return found[0] if found else None

    def required_number(self, keyword: str, remedy: str = _EXPORT_AGAIN) -> float:
        """The attribute as one finite number; `InputError` where absent."""
        if (value := self.number(keyword)) is None:
            raise self.missing(keyword, remedy)
        return value

    def vector(self, keyword: str, length: int) -> tuple[float, ...]:
        """The attribute as exactly `length` finite numbers."""
        found = self.numbers(keyword)
        if not found:
            raise self.missing(keyword)
        if len(found) != length:
            raise self.wrong(keyword, f"{length} numbers are wanted")
        return found

    def count(self, keyword: str) -> int:
        """The attribute as a positive whole number."""
        value = self.required_number(keyword)
        if value != int(value) or not 1 <= value <= 65535:
            raise self.wrong(keyword, "a whole number from 1 to 65535 is wanted")
        return int(value)

    def items(self, keyword: str) -> tuple["Header", ...]:
        """The items of a sequence; none where absent."""
        if not self.has(keyword):
            return ()
        value = self._value(keyword)
        found = self._convert(keyword, lambda: list(value))
        if not all(isinstance(item, Dataset) for item in found):
            raise self.wrong(keyword, "a sequence is wanted")
        return tuple(
            Header(self.path, item, 0, f"{self.trail}{keyword}[{n}] > ") for n, item in enumerate(found, start=1)
        )

    def elements(self) -> tuple[DataElement, ...]:
        """All elements. Raises `InputError` where one cannot be read."""
        return self._whole("an element", lambda: tuple(self.dataset))

    def raw_element(self, tag: Any) -> Any:
        """An element as it stands in the file, its value not converted. Raises `InputError` where it cannot be read."""
        return self._whole(f"the element {tag}", lambda: self.dataset.get_item(tag))

    def _whole(self, what: str, read: Callable[[], T]) -> T:
        try:
            with quiet():
                return read()
        except Exception as error:  # pydicom raises whatever the damaged bytes lead it into
            raise InputError(
                f"{self.trail}{what} cannot be read ({error})", where=self.path, remedy=_EXPORT_AGAIN
            ) from error

    def private_number(self, creator: str, group: int, element: int) -> float | None:
        """A number of a private block, None where it is absent or none."""
        try:
            with quiet():
                return float(self.dataset.private_block(group, creator)[element].value)
        except Exception:  # whatever stands there is not a documented number
            return None

    def missing(self, keyword: str, remedy: str = _EXPORT_AGAIN) -> InputError:
        """The error of an absent attribute."""
        return InputError(f"{self.trail}{tag_name(keyword)} is missing or empty", where=self.path, remedy=remedy)

    def wrong(self, keyword: str, wanted: str, remedy: str = _EXPORT_AGAIN) -> InputError:
        """The error of an attribute whose value cannot be used."""
        try:
            got = self.text(keyword)
        except InputError:
            got = "unreadable"
        return InputError(f"{self.trail}{tag_name(keyword)} is {got[:80]!r}, {wanted}", where=self.path, remedy=remedy)

    @cached_property
    def modality(self) -> str:
        """Modality (0008,0060)."""
        return self.text("Modality")

    @cached_property
    def sop_class(self) -> UID:
        """SOP Class UID (0008,0016)."""
        with quiet():
            return UID(self.required_text("SOPClassUID"))

    @property
    def is_nm(self) -> bool:
        """Whether this is a Nuclear Medicine image, whose attributes differ from those of PET."""
        return self.sop_class == NuclearMedicineImageStorage

    @cached_property
    def transfer_syntax(self) -> UID:
        """Transfer Syntax UID (0002,0010)."""
        meta = getattr(self.dataset, "file_meta", Dataset())
        found = self._convert("TransferSyntaxUID", lambda: UID(str(meta.get("TransferSyntaxUID", ""))))
        if found and not found.is_transfer_syntax:
            raise InputError(
                f"{tag_name('TransferSyntaxUID')} is {str(found)[:80]!r}, a transfer syntax is wanted",
                where=self.path,
                remedy=_EXPORT_AGAIN,
            )
        return found

    def _value(self, keyword: str) -> Any:
        return self._convert(keyword, lambda: self.dataset.get(keyword))

    def _convert(self, keyword: str, convert: Callable[[], T]) -> T:
        return self._whole(tag_name(keyword), convert)


def _as_shown(text: str) -> str:
    """Without control characters, which would reach terminals, tables and the study."""
    return text if text.isprintable() else one_line(text)


def tag_name(keyword: str) -> str:
    """'SliceThickness (0018,0050)'."""
    number = keyword_dict[keyword]
    return f"{keyword} ({number >> 16:04x},{number & 0xFFFF:04x})"


@contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's remarks on values that break the standard: what matters is checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_header(path: Path) -> Header | None:
    """The header of a DICOM file, or None where the file is something else."""
    try:
        with path.open("rb") as file:
            start = file.read(_PREAMBLE + 4)
            if not _looks_like_dicom(start):
                return None
            file.seek(0)
            with quiet(), config.disable_value_validation():
                dataset = dcmread(file, stop_before_pixels=True, force=True)
            rest = path.stat().st_size - file.tell()
    except OSError as error:
        raise InputError(f"the file cannot be read ({error.strerror})", where=path) from error
    except InvalidDicomError:
        return None
    except Exception as error:  # see Header
        raise InputError(f"the DICOM header is damaged ({error})", where=path, remedy=_EXPORT_AGAIN) from error
    without_preamble = start[128:132] != b"DICM"
    if "DirectoryRecordSequence" in dataset or (without_preamble and not any(k in dataset for k in IDENTITY)):
        return None
    header = Header(path, dataset, rest)
    for keyword in IDENTITY:
        header.required_text(keyword)
    if header.transfer_syntax == DeflatedExplicitVRLittleEndian:
        return Header(path, dataset, 1 << 62)  # its length says nothing about the pixels
    return header


def _looks_like_dicom(start: bytes) -> bool:
    if start[128:132] == b"DICM":
        return True
    # without preamble: the first element is of group 0002 or 0008, little endian, with a plausible VR or length
    return re.match(rb"[\x02\x08]\x00.\x00(?:[A-Z]{2}|..[\x00-\x01]\x00)", start, re.DOTALL) is not None
