"""One patient as a user asks for it: files in, a folder out, progress shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from nufitdose.config import read_yaml
from nufitdose.errors import InputError
from nufitdose.io.dicom.write.study import ActivityObject
from nufitdose.io.nifti import load_volume
from nufitdose.phantom.icrp110 import read_icrp110
from nufitdose.phantom.patient import simulate_patient
from nufitdose.phantom.writer import require_free_folder, write_patient
from nufitdose.progress import Steps, Stream
from nufitdose.volume import Quantity, Volume

_OBJECTS: dict[str, ActivityObject] = {"nm": "NM", "pt": "PT"}


def simulate_one(
    out: Path,
    *,
    tracer: str,
    times_h: Sequence[float] | None,
    shape: Sequence[int],
    spacing_mm: float,
    motion: float,
    sliding: bool,
    tumours: int | None,
    dicom: bool,
    dicom_as: Literal["nm", "pt"] | None,
    ct: Path | None,
    labels: Path | None,
    names: Path | None,
    icrp110: Path | None,
    seed: int,
    stream: Stream | None = None,
) -> Path:
    """Simulate a patient and write it to `out`; see `simulate_patient`.

    The body is built, or taken from a label map with names (and its CT), or from the folder of the ICRP 110 phantom.
    Raises `InputError` on files that do not go together or an `out` that is not free.
    """
    require_free_folder(out)
    body, label_names = _body(labels, names, icrp110)
    with Steps(10.0, stream) as steps:
        with steps.step("simulating the patient", 8.0) as tell:
            patient = simulate_patient(
                tracer=tracer,
                times_h=times_h,
                shape=shape,
                spacing_mm=spacing_mm,
                motion=motion,
                sliding=sliding,
                tumours=tumours,
                ct=load_volume(ct, Quantity.HU) if ct else None,
                labels=body,
                label_names=label_names,
                seed=seed,
                on_progress=tell,
            )
        with steps.step("writing", 2.0):
            return write_patient(patient, out, dicom=_OBJECTS[dicom_as] if dicom_as else dicom)


def _body(labels: Path | None, names: Path | None, icrp110: Path | None) -> tuple[Volume | None, dict[int, str] | None]:
    if icrp110 is not None:
        if labels is not None:
            raise InputError("--icrp110 and --labels were given, the body comes from one of them")
        return read_icrp110(icrp110)
    if labels is None:
        return None, None
    if names is None:
        raise InputError("--labels was given without --names", remedy="Name a YAML or JSON file: label -> organ")
    table = read_yaml(names)
    table = table.get("names", table)  # a file may say more than the names
    entries = table.items() if isinstance(table, dict) else ()
    found = {int(label): str(name) for label, name in entries if str(label).isdecimal()}
    if not found:
        raise InputError("no line says 'label: organ', as 5: liver", where=names)
    return load_volume(labels, Quantity.LABELS), found
