"""Who the patient is: carried where asked, and in no file at all where another name is given."""

import gzip
import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
import yaml
from support.dicom_files import ACQUIRED, ct, every, pet, rtstruct, stored_values, uid, write

from dosimetry import run_patient
from dosimetry.config import load_settings
from nufitdose.errors import InputError
from nufitdose.io.importer.command import run_import
from nufitdose.io.importer.options import ImportOptions
from nufitdose.io.study_folder import load_study

TELLING = {
    "PatientName": "Beispiel^Änne Maria",
    "PatientID": "MRN-448812",
    "PatientBirthDate": "19520317",
    "AccessionNumber": "ACC77812",
    "StudyID": "ST55-201",
    "InstitutionName": "Klinikum Musterstadt",
    "InstitutionAddress": "Am Ring 5",
    "ReferringPhysicianName": "Zuweiser^Otto",
    "OperatorsName": "Technikerin^Ute",
}
SECRETS = (
    "Beispiel", "Änne", "Maria", "MRN-448812", "19520317", "ACC77812", "ST55-201", "Musterstadt", "Am Ring 5",
    "Zuweiser", "Technikerin",
)  # fmt: skip


@pytest.fixture
def dicom(tmp_path) -> Path:
    """Two scans with CT and structures; paths, descriptions and one header tell who it is."""
    first, anatomy = pet("early for MRN-448812"), ct("low dose")
    second = pet("late Beispiel", values=stored_values(5), acquired=ACQUIRED + timedelta(days=1), frame=uid("other"))
    drawn = [rtstruct(anatomy)]
    folder = tmp_path / "in" / "Beispiel^Änne" / "MRN-448812"
    for n, series in enumerate((first, second, anatomy, drawn)):
        for dataset in series:
            dataset.SpecificCharacterSet = "ISO_IR 192"
        write(folder / str(n), every(series, **TELLING, PatientSex="F"))
    return tmp_path / "in"


def everything(*folders: Path) -> dict[str, str]:
    """All that is written, names of files included, packed files unpacked; UTF-8 and Latin-1 read alike."""
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                raw = path.read_bytes()
                raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
                found[str(path)] = f"{path.relative_to(folder)}\n" + raw.decode("utf-8", errors="replace")
    return found


def named_in(texts: dict[str, str], words) -> list[tuple[str, str]]:
    return [(path, word) for path, text in texts.items() for word in words if word.lower() in text.lower()]


def run(dicom: Path, out: Path, **options) -> dict[str, str]:
    run_import(dicom, out / "study", ImportOptions(**options))
    settings = load_settings(None, ["registration.engine=none", "dose.engine=local"])
    run_patient(out / "study", out / "results", settings)
    return everything(out / "study", out / "results")


def test_another_name_leaves_nothing_of_the_patient_in_any_file(dicom, tmp_path):
    texts = run(dicom, tmp_path / "out", patient="ANON")
    assert named_in(texts, SECRETS) == []
    uids = {str(pydicom.dcmread(path, stop_before_pixels=True)[word].value)
            for path in dicom.rglob("*.dcm")
            for word in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
            if word in pydicom.dcmread(path, stop_before_pixels=True)}  # fmt: skip
    assert len(uids) > 10
    assert named_in(texts, uids) == []
    objects = [pydicom.dcmread(path) for path in texts if path.endswith(".dcm")]
    assert len(objects) >= 6
    assert {str(one.PatientID) for one in objects} == {"ANON"}
    record = json.loads(next(text for path, text in texts.items() if path.endswith("study/run.json")).split("\n", 1)[1])
    assert len(record["inputs"]) == len(list(dicom.rglob("*.dcm")))  # every file keeps a line of its own


def test_objects_of_one_renamed_patient_still_belong_together(dicom, tmp_path):
    """The same UIDs stand in for the same images, in one import and in the next."""
    for n in (1, 2):
        run_import(dicom, tmp_path / str(n), ImportOptions(patient="ANON"))
    first, second = (load_study(tmp_path / str(n)) for n in (1, 2))
    assert first.dicom == second.dicom
    assert [tp.sources for tp in first.timepoints] == [tp.sources for tp in second.timepoints]
    assert first.reference.sources.activity.study_uid == first.dicom["StudyInstanceUID"]
    frames = {tp.sources.activity.frame_of_reference_uid for tp in first.timepoints}
    assert len(frames) == 2


def test_without_a_word_the_identifier_is_all_that_is_kept(dicom, tmp_path):
    run_import(dicom, tmp_path / "study", ImportOptions())
    study = load_study(tmp_path / "study")
    assert study.patient == "MRN-448812"
    assert set(study.dicom) <= {
        "StudyInstanceUID",
        "FrameOfReferenceUID",
        "SeriesInstanceUID",
        "StudyDate",
        "StudyTime",
    }
    source = next(path for path in dicom.rglob("*.dcm") if pydicom.dcmread(path).Modality == "PT")
    assert study.dicom["StudyInstanceUID"] == pydicom.dcmread(source).StudyInstanceUID
    manifest = (tmp_path / "study" / "study.yaml").read_text(encoding="utf-8")
    assert named_in({"study.yaml": manifest}, set(SECRETS) - {"MRN-448812"}) == []


def test_identify_carries_the_patient_into_the_objects(dicom, tmp_path):
    texts = run(dicom, tmp_path / "out", identify=True)
    for path in texts:
        if path.endswith(".dcm"):
            one = pydicom.dcmread(path)
            assert str(one.PatientName) == TELLING["PatientName"], path
            assert (one.PatientID, one.PatientBirthDate, one.PatientSex) == ("MRN-448812", "19520317", "F")
            assert "InstitutionName" not in one
    dose = pydicom.dcmread(tmp_path / "out" / "results" / "dicom" / "rtdose.dcm")
    assert (dose.AccessionNumber, dose.StudyID) == (TELLING["AccessionNumber"], TELLING["StudyID"])


def test_identify_and_another_name_exclude_each_other(dicom, tmp_path):
    with pytest.raises(InputError, match="--identify keeps the patient of the files, and --patient names another"):
        run_import(dicom, tmp_path / "study", ImportOptions(identify=True, patient="ANON"))


def test_the_study_names_the_images_of_every_slice(dicom, tmp_path):
    run_import(dicom, tmp_path / "study", ImportOptions())
    study = load_study(tmp_path / "study")
    by_uid = {pydicom.dcmread(path).SOPInstanceUID: pydicom.dcmread(path) for path in dicom.rglob("*.dcm")}
    for tp in study.timepoints:
        grid = tp.activity.grid
        for k, image in enumerate(tp.sources.activity.sop_instance_uids):
            position = [float(v) for v in by_uid[image].ImagePositionPatient]
            assert grid.world(np.array([0.0, 0.0, float(k)])) * (-1, -1, 1) == pytest.approx(position, abs=1e-3)
    assert study.reference.sources.ct is not None


@pytest.mark.parametrize("bad", [{"images": []}, {"study": "no UID"}, {"images": ["1.2\\3"]}, {"extra": 1}])
def test_a_damaged_list_of_images_is_refused_with_its_file(dicom, tmp_path, bad):
    run_import(dicom, tmp_path / "study", ImportOptions())
    path = tmp_path / "study" / "tp1" / "dicom.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["activity"] |= bad
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(InputError) as refused:
        load_study(tmp_path / "study")
    assert "dicom.yaml" in str(refused.value)
