"""Who a study is of: what of the patient goes into it, and what must not be found in any file made of it.

Three ways: `--identify` carries the patient of the files; `--patient NAME` puts that name in place of him everywhere,
UIDs included; without either his PatientID is the one thing that is kept, with the UIDs, so that objects made of the
study go to its images.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydicom.datadict import dictionary_VR

from nufitdose.errors import InputError
from nufitdose.image_sources import replace_uids, replaced_uid
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.importer.options import ImportOptions
from nufitdose.io.study_folder.fields import fits_dicom

_STUDY = ("StudyInstanceUID", "FrameOfReferenceUID", "SeriesInstanceUID", "StudyDate", "StudyTime")
_PERSON = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
#: What tells who someone is, and is looked for in texts (PS3.15 table E.1-1, what stands in headers of images).
_TELLING = (
    "PatientName",
    "PatientID",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientBirthDate",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "AccessionNumber",
    "StudyID",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
    "RequestingPhysician",
    "AdmissionID",
)
_SHORTEST = 3  # characters; shorter words are found in any text
_REMOVED = "(removed)"


def is_renamed(headers: Sequence[Header], options: ImportOptions) -> bool:
    """Whether `--patient` names another than the files do; refused together with `--identify`."""
    stated = {header.text("PatientID") for header in headers} - {""}
    renamed = options.patient is not None and stated != {options.patient}
    if renamed and options.identify and stated:
        raise InputError(
            "--identify keeps the patient of the files, and --patient names another",
            remedy="Give one of the two: --patient takes who it is out of everything that is written",
        )
    return renamed


def carried_attributes(header: Header, options: ImportOptions, *, renamed: bool) -> dict[str, str]:
    """The attributes that objects made of the study repeat."""
    wanted = (*_PERSON, *_STUDY) if options.identify else _STUDY
    found = {word: header.text(word) for word in wanted if header.has(word) and fits_dicom(word, header.text(word))}
    return {word: replaced_uid(text) if renamed and word.endswith("UID") else text for word, text in found.items()}


class Redaction:
    """Takes what tells who the patient is out of texts: words of the headers, and UIDs."""

    def __init__(self, headers: Iterable[Header], kept: str) -> None:
        words: set[str] = set()
        for header in headers:
            for keyword in _TELLING:
                text = header.text(keyword)
                words |= {text, *re.split(r"[\^=\\,\s]+", text)} if dictionary_VR(keyword) == "PN" else {text}
        known = sorted((word for word in words if len(word) >= _SHORTEST and word != kept), key=len, reverse=True)
        pattern = "|".join(re.escape(word) for word in known) or r"(?!)"
        self._words = re.compile(rf"(?<![^\W_])(?:{pattern})(?![^\W_])", re.IGNORECASE)

    def text(self, text: str) -> str:
        """The text without them."""
        return self._words.sub(_REMOVED, replace_uids(text))

    def values(self, value: Any) -> Any:
        """The same of every text in nested lists and mappings."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.values(item) for key, item in value.items()}
        return [self.values(item) for item in value] if isinstance(value, list | tuple) else value

    def names(self, named: Mapping[str, str]) -> dict[str, str]:
        """A mapping with its keys so treated, each kept apart."""
        found: dict[str, str] = {}
        for name, value in named.items():
            new, count = self.text(name), 1
            while new in found:
                count += 1
                new = f"{self.text(name)} ({count})"
            found[new] = value
        return found
