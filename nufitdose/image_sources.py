"""Which DICOM images a scan was read from, so that objects made of it can name them. Values; no files."""

import hashlib
import re
from dataclasses import dataclass, replace

_ROOT = "2.25."  # UIDs made from a number (PS3.5 B.2)
_UID = re.compile(r"(?<![0-9.])[0-2](?:\.[0-9]+){5,}(?![0-9.]*[0-9])")


@dataclass(frozen=True)
class ImageSource:
    """One series of an archive: `sop_instance_uids` in order of slice index k, or one of a multi-frame object.

    `study_date` and `study_time` as DICOM has them, empty where unknown.
    """

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    sop_class_uid: str
    sop_instance_uids: tuple[str, ...]
    study_date: str = ""
    study_time: str = ""

    def renamed(self) -> "ImageSource":
        """The same with every UID replaced (see `replaced_uid`)."""
        return replace(
            self,
            study_uid=replaced_uid(self.study_uid),
            series_uid=replaced_uid(self.series_uid),
            frame_of_reference_uid=replaced_uid(self.frame_of_reference_uid),
            sop_instance_uids=tuple(replaced_uid(uid) for uid in self.sop_instance_uids),
        )


@dataclass(frozen=True)
class ImageSources:
    """The images of one time point."""

    activity: ImageSource
    ct: ImageSource | None = None

    def renamed(self) -> "ImageSources":
        """The same with every UID replaced."""
        return ImageSources(self.activity.renamed(), self.ct.renamed() if self.ct else None)


def replaced_uid(uid: str) -> str:
    """Another UID in place of this one, always the same for it, from which it cannot be computed back."""
    if not uid or uid.startswith("1.2.840.10008."):  # UIDs of the standard name classes, not images
        return uid
    return made_uid("replaced", uid)


def made_uid(*what: str) -> str:
    """A UID of its own for what these words name, the same every time."""
    digest = hashlib.sha256("\0".join(("nufitdose", *what)).encode()).digest()
    return f"{_ROOT}{int.from_bytes(digest[:16], 'big')}"


def replace_uids(text: str) -> str:
    """The text with every UID in it replaced."""
    return _UID.sub(lambda found: replaced_uid(found.group()), text)
