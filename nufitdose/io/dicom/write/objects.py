"""What all objects written here share: whose they are, their equipment, UIDs from their content, the file."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from nufitdose.files import whole_file
from nufitdose.image_sources import made_uid
from nufitdose.io.dicom.read.headers import quiet
from nufitdose.version import __version__

_log = logging.getLogger(__name__)
RESEARCH = "For research use only. Not a medical device, not for diagnosis or treatment planning."
#: This program as the equipment of an object that highdicom makes.
EQUIPMENT = {
    "manufacturer": "nufitdose",
    "manufacturer_model_name": "nufitdose",
    "software_versions": __version__,
    "device_serial_number": "0",
}
#: Type 1 and 2 attributes of the patient, the study and the frame of reference, repeated from the images.
REPEATED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)


def describe(dataset: Dataset, dicom: Mapping[str, str], sop_class: UID, modality: str, title: str, path: Path) -> None:
    """Patient, study, series, equipment: every type 2 attribute is there, empty where unknown."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.Modality = sop_class, modality
    with quiet(), config.disable_value_validation():  # repeated as the images have them
        for keyword in REPEATED:
            setattr(dataset, keyword, dicom.get(keyword, ""))
    for keyword, what in (("StudyInstanceUID", "study"), ("FrameOfReferenceUID", "frame of reference")):
        if not dicom.get(keyword):
            setattr(dataset, keyword, made_uid(keyword, *dicom.values()))
            _log.warning("%s: the images name no %s: the object gets one of its own (%s)", path.name, what, keyword)
    dataset.SeriesNumber = None
    dataset.InstanceNumber = 1
    dataset.OperatorsName = ""
    dataset.SeriesDescription = f"{title} (research use only)"
    dataset.Manufacturer = dataset.ManufacturerModelName = "nufitdose"
    dataset.SoftwareVersions = __version__


def name_by_content(dataset: Dataset, data: bytes = b"") -> None:
    """UIDs from the content, so that one result written twice is one object and another result another."""
    content = hashlib.sha256(data)
    content.update(dataset.to_json(bulk_data_threshold=0, bulk_data_element_handler=lambda _: "").encode())
    dataset.SeriesInstanceUID = made_uid("series", content.hexdigest())
    dataset.SOPInstanceUID = made_uid("instance", content.hexdigest())


def save_object(dataset: Dataset, path: Path) -> None:
    """Write it in explicit little endian, whole or not at all."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    with whole_file(path) as aside, quiet(), config.disable_value_validation():
        dataset.save_as(aside, enforce_file_format=True)


def decimals(values: np.ndarray) -> list[str]:
    """Decimal strings of at most 16 characters."""
    return [format_number_as_ds(float(value) + 0.0) for value in values]


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """The item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def reference(sop_class: str, sop_instance: str) -> Dataset:
    """An item that refers to an object."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    return item
