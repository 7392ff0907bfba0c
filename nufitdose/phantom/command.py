"""One patient as a user asks for it: files in, a folder out, progress shown."""

from pathlib import Path
from typing import Literal

from nufitdose.config import read_yaml
from nufitdose.errors import InputError
from nufitdose.io.dicom.write.study import ActivityObject
from nufitdose.io.nifti import load_volume
from nufitdose.phantom.icrp110 import read_icrp110
from nufitdose.phantom.patient import simulate_patient
from nufitdose.phantom.settings import LabelledImages, PatientSettings
from nufitdose.phantom.writer import require_free_folder, write_patient
from nufitdose.progress import Steps, Stream
from nufitdose.volume import Quantity

_OBJECTS: dict[str, ActivityObject] = {"nm": "NM", "pt": "PT"}


def simulate_one(
    out: Path,
    settings: PatientSettings,
    *,
    dicom: bool = False,
    dicom_as: Literal["nm", "pt"] | None = None,
    stream: Stream | None = None,
) -> Path:
    """Simulate a patient and write it to `out`, which must be free; see `write_patient`."""
    require_free_folder(out)
    with Steps(10.0, stream) as steps:
        with steps.step("simulating the patient", 8.0) as on_progress:
            patient = simulate_patient(settings, on_progress=on_progress)
        with steps.step("writing", 2.0):
            return write_patient(patient, out, dicom=_OBJECTS[dicom_as] if dicom_as else dicom)


def read_body(labels: Path | None, names: Path | None, ct: Path | None, icrp110: Path | None) -> LabelledImages | None:
    """The body from a label map with names (and its CT), or from the folder of the ICRP 110 phantom; None to build it.

    Raises `InputError` on files that do not go together.
    """
    image = load_volume(ct, Quantity.HU) if ct else None
    if icrp110 is not None:
        if labels is not None:
            raise InputError("--icrp110 and --labels were given, the body comes from one of them")
        return LabelledImages(*read_icrp110(icrp110), image)
    if labels is None:
        if image is not None:
            raise InputError(
                "a CT was given as the anatomy without its labels", remedy="Give the label map of its organs"
            )
        return None
    if names is None:
        raise InputError("--labels was given without --names", remedy="Name a YAML or JSON file: label -> organ")
    return LabelledImages(load_volume(labels, Quantity.LABELS), _read_names(names), image)


def _read_names(path: Path) -> dict[int, str]:
    table = read_yaml(path)
    table = table.get("names", table)  # a file may say more than the names
    entries = table.items() if isinstance(table, dict) else ()
    found = {int(label): str(name) for label, name in entries if str(label).isdecimal()}
    if not found:
        raise InputError("no line says 'label: organ', as 5: liver", where=path)
    return found
