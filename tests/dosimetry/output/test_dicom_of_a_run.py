"""The DICOM objects of a patient run: what is written when, where it lies, that its numbers are those of the tables."""

import csv
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from support.programs import standard_errors
from support.small_study import small_study

from dosimetry import run_patient
from dosimetry.config import load_settings
from nufitdose.io.dicom.read.headers import read_header
from nufitdose.io.dicom.read.segmentation import segmentation_regions
from nufitdose.io.dicom.write.orientation import towards_lps

ALL = {
    "rtdose.dcm", "rtstruct.dcm", "seg.dcm", "seg_tp2.dcm", "reg_tp2.dcm", "map_tia.dcm",
    "map_effective_half_life.dcm", "measurements.dcm",
}  # fmt: skip
SETTINGS = ["registration.engine=rigid", "dose.engine=local"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    results = run_patient(small_study((4.0, 24.0)), out, load_settings(None, [*SETTINGS, "output.dicom=always"]))
    return results, out


def test_all_objects_are_written_and_keep_to_the_standard(run):
    names = {path.name for path in (run[1] / "dicom").iterdir()}
    assert names - {"map_dose_uncertainty.dcm"} == ALL
    for name in sorted(names):
        assert standard_errors(run[1] / "dicom" / name) == [], name


def test_they_make_one_study_and_each_scan_has_its_frame(run):
    files = {path.name: pydicom.dcmread(path) for path in (run[1] / "dicom").iterdir()}
    assert len({file.StudyInstanceUID for file in files.values()}) == 1
    frame = files["rtdose.dcm"].FrameOfReferenceUID
    assert files["seg.dcm"].FrameOfReferenceUID == files["reg_tp2.dcm"].FrameOfReferenceUID == frame
    other = files["seg_tp2.dcm"].FrameOfReferenceUID
    assert other != frame
    assert files["reg_tp2.dcm"].DeformableRegistrationSequence[0].SourceFrameOfReferenceUID == other


def test_structures_carried_onto_a_scan_lie_where_the_inverse_field_puts_them(run):
    """The scans of this patient did not move: the structure stays within a voxel's edge of its place."""
    results, out = run
    layer = towards_lps(results.study.structures.layers[0])
    (region,) = segmentation_regions(read_header(out / "dicom/seg_tp2.dcm"), layer.grid, shares_frame=True)
    mask = np.zeros(layer.grid.shape, bool)
    mask[region.box] = region.mask
    both = (mask & (layer.data > 0)).sum()
    assert 2 * both / (mask.sum() + (layer.data > 0).sum()) > 0.95


def test_histograms_and_report_hold_the_numbers_of_the_table(run):
    _, out = run
    with (out / "metrics.csv").open(newline="", encoding="utf-8") as file:
        (liver,) = [row for row in csv.DictReader(file) if row["structure"] == "liver"]
    (histogram,) = pydicom.dcmread(out / "dicom/rtdose.dcm").DVHSequence
    volumes = np.array(histogram.DVHData[1::2], float)
    assert volumes[0] == pytest.approx(float(liver["volume_ml"]), rel=1e-5)
    assert np.all(np.diff(volumes) <= 0)
    for word, column in (("Minimum", "min"), ("Mean", "mean"), ("Maximum", "max")):
        assert float(histogram[f"DVH{word}Dose"].value) == pytest.approx(float(liver[f"dose_{column}_gy"]), rel=1e-5)
    (group,) = highdicom.sr.srread(out / "dicom/measurements.dcm").content.get_volumetric_roi_measurement_groups()
    told = {m.name.meaning: m.value for m in group.get_measurements() if m.derivation is None}
    for meaning, column in (
        ("Volume", "volume_ml"),
        ("Mass", "mass_g"),
        ("Mean Absorbed Radiation Dose", "dose_mean_gy"),
        ("Time-integrated activity", "tia_mbq_h"),
        ("Effective half-life", "teff_h"),
    ):
        assert told[meaning] == pytest.approx(float(liver[column]), rel=1e-5), meaning


@pytest.mark.parametrize(
    ("asked", "written"),
    [("[rtdose]", {"rtdose.dcm", "rtstruct.dcm"}), ("[seg]", {"seg.dcm"}), ("[reg]", {"reg_tp2.dcm"}), ("[]", set())],
)
def test_what_is_asked_for_is_written(tmp_path, asked, written):
    words = [*SETTINGS, "output.dicom=always", f"output.dicom_objects={asked}"]
    run_patient(small_study((4.0, 24.0)), tmp_path / "out", load_settings(None, words))
    assert {path.name for path in (tmp_path / "out/dicom").iterdir()} == written


def test_a_study_that_is_not_from_dicom_gets_none_unasked(tmp_path: Path):
    run_patient(small_study((4.0, 24.0)), tmp_path / "out", load_settings(None, SETTINGS))
    assert not (tmp_path / "out/dicom").exists()


def test_without_structures_dose_maps_and_registrations_are_written(tmp_path):
    study = small_study((4.0, 24.0), structures=False)
    run_patient(study, tmp_path / "out", load_settings(None, [*SETTINGS, "output.dicom=always"]))
    names = {path.name for path in (tmp_path / "out/dicom").iterdir()} - {"map_dose_uncertainty.dcm"}
    assert names == {"rtdose.dcm", "reg_tp2.dcm", "map_tia.dcm", "map_effective_half_life.dcm"}
