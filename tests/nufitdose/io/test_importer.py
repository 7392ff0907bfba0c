"""DICOM folder to study: what is used, what is refused, what is written."""

import json
import logging
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RTDoseStorage
from support.dicom_files import (
    ACQUIRED,
    ACTIVITY_MBQ,
    ADMINISTERED,
    HALF_LIFE_S,
    ct,
    every,
    nm,
    pet,
    plan_of,
    radiopharmaceutical,
    rtstruct,
    stored_values,
    uid,
    write,
)

from nufitdose.errors import InputError
from nufitdose.io.importer.planning import ImportOptions, plan_import, write_study
from nufitdose.io.importer.table import closing
from nufitdose.io.study_folder import load_study

LATER = ACQUIRED + timedelta(days=1)


def drugs(scan, **values):
    for dataset in scan:
        every(dataset.RadiopharmaceuticalInformationSequence, **values)
    return scan


def uses(plan) -> dict[str, str]:
    return {row.description: row.use for row in plan.series}


def test_a_study_of_two_scans_with_ct_and_structures(tmp_path):
    """Two scans of one StudyInstanceUID and one StudyDate, in their own frames of reference."""
    first, anatomy = pet("early"), ct("low dose")
    second = pet("late", values=stored_values(5), acquired=LATER, frame=uid("another frame"))
    plan = plan_of(tmp_path / "in", second, first, anatomy, [rtstruct(anatomy)])
    assert plan.refusal is None
    assert uses(plan) == {
        "early": "activity of tp1",
        "late": "activity of tp2",
        "low dose": "CT of tp1",
        "structures of low dose": "structures of tp1",
    }
    study = plan.study
    assert (study.patient, study.nuclide, study.reference_id) == ("P1", "Lu-177", "tp1")
    assert study.administration.activity_mbq == pytest.approx(ACTIVITY_MBQ)
    assert [tp.time_h for tp in study.timepoints] == pytest.approx([4.0, 28.0])
    assert study.structures is not None
    assert list(study.structures.names.values()) == ["kidney_left"]
    (tmp_path / "out").mkdir()
    manifest = write_study(plan, tmp_path / "out")
    again = load_study(manifest)
    factor = 2.0 ** (-28 * 3600 / HALF_LIFE_S)
    late = again.timepoints[1].activity.data.transpose(2, 1, 0)
    assert np.allclose(late, stored_values(5) * 10.0 * factor, rtol=1e-6)
    assert np.array_equal(again.reference.ct.data.transpose(2, 1, 0) + 1024, stored_values(2) % 2048)
    assert again.timepoints[1].ct is None
    mask, _ = again.structures.mask("kidney_left")
    assert mask.sum() > 0
    text = manifest.read_text()
    assert "Doe" not in text
    assert "19600101" not in text
    assert again.dicom == study.dicom
    assert again.dicom["SeriesInstanceUID"] == first[0].SeriesInstanceUID
    assert again.dicom["FrameOfReferenceUID"] == first[0].FrameOfReferenceUID


@pytest.mark.parametrize(
    ("named", "tracer"), [("Lutetium Lu-177 dotatate", "Lutetium Lu-177 dotatate"), ("Lu-177", None), (None, None)]
)
def test_the_radiopharmaceutical_is_the_tracer_unless_it_repeats_the_nuclide(tmp_path, named, tracer):
    plan = plan_of(tmp_path, drugs(pet(), Radiopharmaceutical=named) if named else pet())
    assert plan.study.tracer == tracer


def test_progress_moves_with_each_file_read_and_each_image_written(tmp_path):
    anatomy = ct("low dose")
    folder, reading, writing = tmp_path / "in", [], []
    for number, scan in enumerate([pet("early"), anatomy, [rtstruct(anatomy)]]):
        write(folder / str(number), scan)
    plan = plan_import(folder, ImportOptions(), reading.append)
    (tmp_path / "out").mkdir()
    write_study(plan, tmp_path / "out", on_progress=writing.append)
    files = sum(path.is_file() for path in folder.rglob("*"))
    assert len(set(reading)) > files
    assert reading == sorted(reading)
    assert 0.0 < reading[0] < 0.1
    assert writing == pytest.approx([1 / 3, 2 / 3, 1.0])  # activity, CT, structures


def test_rows_say_what_a_series_is(tmp_path):
    plan = plan_of(tmp_path, pet(), ct())
    row = next(row for row in plan.series if row.modality == "PT")
    factor = 2.0 ** (-4 * 3600 / HALF_LIFE_S)
    assert row.total_mbq == pytest.approx(stored_values().sum() * 10.0 * factor * 0.024 * 1e-6, rel=1e-6)
    assert (row.matrix, row.spacing_mm, row.orientation, row.units) == ((4, 5, 6), (2.0, 3.0, 4.0), "LPS", "BQML")
    assert row.hours == pytest.approx(4.0)
    assert all(len(texts) == len(plan.columns) for texts in plan.rows())
    assert json.loads(json.dumps(plan.record()))["timepoints"]["tp1"]["decay_correction_in_file"] == "ADMIN"
    assert len(plan.files()) == 12


def test_the_reference_can_be_chosen(tmp_path):
    plan = plan_of(tmp_path, pet("a"), pet("b", acquired=LATER), reference="tp2")
    assert plan.study.dicom["SeriesInstanceUID"] == uid("b", "PT")
    assert "tp3" in plan_import(tmp_path, ImportOptions(reference="tp3")).refusal.problem


# --- quantities


def test_counts_with_a_factor(tmp_path):
    plan = plan_of(tmp_path, [nm()], calibration_bq_per_ml_per_count=3.0)
    rate, duration_s = np.log(2.0) / HALF_LIFE_S, 60 * 20.0
    mean_to_start = rate * duration_s / -np.expm1(-rate * duration_s)
    wanted = stored_values(3) * 3.0 * mean_to_start
    assert np.allclose(plan.study.reference.activity.data.transpose(2, 1, 0), wanted, rtol=1e-6)
    assert plan.study.administration.activity_mbq == ACTIVITY_MBQ  # in MBq in an NM object


def test_counts_with_a_sensitivity(tmp_path):
    """Counts / (S · duration) is the mean activity of a voxel over the scan."""
    plan = plan_of(tmp_path, [nm()], sensitivity_cps_per_mbq=10.0)
    factor = plan.record()["timepoints"]["tp1"]["factor_to_acquisition_start"]
    total = plan.series[0].total_mbq
    assert total == pytest.approx(stored_values(3).sum() / (10.0 * 1200.0) * factor, rel=1e-6)


def test_counts_without_a_calibration_are_refused(tmp_path):
    plan = plan_of(tmp_path, [nm()])
    assert "counts" in plan.refusal.problem
    assert "--calibration" in plan.refusal.remedy
    assert plan.series[0].use.startswith("refused")


def real_world(units, slope=2.5):
    item, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = units, "UCUM", units
    item.MeasurementUnitsCodeSequence = [code]
    item.RealWorldValueFirstValueMapped, item.RealWorldValueLastValueMapped = 0, 65535
    item.RealWorldValueSlope, item.RealWorldValueIntercept, item.LUTLabel = slope, 0.0, "BQML"
    return item


@pytest.mark.parametrize(("units", "scale"), [("Bq/ml", 1.0), ("kBq/ml", 1000.0)])
def test_counts_with_a_real_world_mapping(tmp_path, units, scale):
    dataset = nm()
    item = real_world(units)
    item.RealWorldValueFirstValueMapped = 0
    dataset.RealWorldValueMappingSequence = [item]
    plan = plan_of(tmp_path, [dataset])
    factor = plan.record()["timepoints"]["tp1"]["factor_to_acquisition_start"]
    wanted = stored_values(3) * 2.5 * scale * factor
    assert np.allclose(plan.study.reference.activity.data.transpose(2, 1, 0), wanted, rtol=1e-6)


def test_a_mapping_to_other_units_is_refused(tmp_path):
    dataset = nm()
    dataset.RealWorldValueMappingSequence = [real_world("g/ml")]
    assert "Bq/ml" in plan_of(tmp_path, [dataset]).refusal.problem


def test_a_needless_calibration_is_mentioned(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        plan = plan_of(tmp_path, pet(), calibration_bq_per_ml_per_count=3.0)
    assert plan.refusal is None
    assert "not used" in caplog.text


# --- refusals


def patient(scan, **values):
    return every(scan, **values)


def shifted(dataset):
    return every(dataset, SOPInstanceUID=uid("other object"))


REFUSED = {
    "two patients": (lambda: [pet("a"), every(pet("b", acquired=LATER), PatientID="P2")], "two patients"),
    "two birth dates": (
        lambda: [pet("a"), every(pet("b", acquired=LATER), PatientBirthDate="19700101")],
        "two patients",
    ),
    "no patient": (lambda: [every(pet(), PatientID="")], "PatientID (0010,0020)"),
    "SUV": (lambda: [every(pet(), Units="GML")], "BQML is wanted"),
    "counts per second": (lambda: [every(pet(), Units="CPS")], "BQML is wanted"),
    "no units": (lambda: [every(pet(), Units=None)], "BQML is wanted"),
    "units that change": (lambda: [[*pet()[:3], *every(pet()[3:], Units="CNTS")]], "Units (0054,1001)"),
    "no dose": (lambda: [drugs(pet(), RadionuclideTotalDose=None)], "RadionuclideTotalDose (0018,1074)"),
    "dose in MBq": (lambda: [drugs(pet(), RadionuclideTotalDose=7400)], "implausibly small"),
    "doses that differ": (
        lambda: [pet("a"), drugs(pet("b", acquired=LATER), RadionuclideTotalDose=7.5e9)],
        "disagree about the administered activity",
    ),
    "no nuclide": (lambda: [drugs(pet(), RadionuclideCodeSequence=None)], "nuclide is unknown"),
    "no radiopharmaceutical": (lambda: [every(pet(), RadiopharmaceuticalInformationSequence=None)], "(0054,0300)"),
    "two radiopharmaceuticals": (
        lambda: [every(pet(), RadiopharmaceuticalInformationSequence=[radiopharmaceutical(1e9)] * 2)],
        "2 items",
    ),
    "CT only": (lambda: [ct()], "no activity image"),
    "projections only": (lambda: [every([nm()], ImageType=["ORIGINAL", "PRIMARY", "TOMO"])], "no activity image"),
    "a missing slice": (lambda: [pet()[:2] + pet()[3:]], "missing between"),
    "two reconstructions": (lambda: [pet("AC"), pet("NAC", values=stored_values(4))], "of one acquisition"),
    "two CT": (lambda: [pet(), ct("soft"), ct("lung")], "2 CT series fit"),
    "a tilted CT": (
        lambda: [pet(), ct(positions=[[-30.0, -20.0 + 0.5 * k, 100.0 + 4 * k] for k in range(6)])],
        "gantry tilt",
    ),
    "a half-life of nothing": (lambda: [drugs(pet(), RadionuclideHalfLife=1e-9)], "RadionuclideHalfLife (0018,1075)"),
    "a frame of years": (lambda: [every(pet(correction="NONE"), ActualFrameDuration=10**11)], "less than a week"),
    "no activity at all": (lambda: [pet(values=np.zeros((6, 5, 4), np.uint16))], "no activity"),
    "beds as series": (
        lambda: [pet("thorax"), pet("abdomen", acquired=ACQUIRED + timedelta(minutes=25), start=(-30, -20, 124))],
        "beds of one scan",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_what_to_do(tmp_path, case):
    make, words = REFUSED[case]
    plan = plan_of(tmp_path, *make())
    assert plan.refusal is not None
    assert words in plan.refusal.problem
    assert plan.refusal.remedy or case == "no activity at all"
    assert plan.refusal.where
    assert "Doe" not in str(plan.refusal)
    assert plan.series  # the others still stand in the table
    with pytest.raises(InputError):
        _ = plan.study


def test_one_bad_series_does_not_hide_the_others(tmp_path):
    plan = plan_of(tmp_path, pet("good"), every(pet("bad", acquired=LATER), Units="GML"))
    assert uses(plan)["good"] == "activity of tp1"
    assert uses(plan)["bad"].startswith("refused: Units (0054,1001)")
    assert next(row for row in plan.series if row.description == "good").total_mbq
    assert "Units" in plan.refusal.problem


def test_the_user_supplies_what_is_missing(tmp_path):
    scan = every(pet(), RadiopharmaceuticalInformationSequence=None)
    options = {"nuclide": "177Lu", "administered_mbq": 7400.0, "administered_at": ADMINISTERED.isoformat()}
    plan = plan_of(tmp_path, every(scan, PatientID=""), **options, patient="Trial 7")
    assert (plan.study.patient, plan.study.nuclide) == ("Trial 7", "Lu-177")
    assert plan.study.administration.activity_mbq == 7400.0
    assert plan.study.reference.time_h == pytest.approx(4.0)


def test_a_given_nuclide_overrules_with_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        plan = plan_of(tmp_path, pet(), nuclide="I-131")
    assert plan.study.nuclide == "I-131"
    assert "Lu-177" in caplog.text


def test_more_activity_than_was_given_is_mentioned(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        plan_of(tmp_path, pet(slope=lambda k: 1e6))
    assert "check units and calibration" in caplog.text


# --- what belongs together


def test_a_reconstruction_is_chosen_by_series(tmp_path):
    plan = plan_of(tmp_path, pet("AC"), pet("NAC", values=stored_values(4)), ct(), series=(uid("AC", "PT"),))
    assert plan.refusal is None
    assert uses(plan) == {"AC": "activity of tp1", "NAC": "skipped: not among the series asked for", "ct": "CT of tp1"}
    assert "1.2.3" in plan_import(tmp_path, ImportOptions(series=("1.2.3",))).refusal.problem


def test_ct_of_the_same_session_wins_within_a_frame_of_reference(tmp_path):
    plan = plan_of(tmp_path, pet("a"), pet("b", acquired=LATER), ct("ct a"), ct("ct b", acquired=LATER))
    assert (uses(plan)["ct a"], uses(plan)["ct b"]) == ("CT of tp1", "CT of tp2")


def test_ct_of_another_frame_is_taken_by_study_and_time_with_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        plan = plan_of(tmp_path, pet(), ct(frame=uid("ct frame")))
    assert uses(plan)["ct"] == "CT of tp1"
    assert "not by frame of reference" in caplog.text


def test_ct_elsewhere_or_of_another_time_is_not_taken(tmp_path):
    far = ct("far", frame=uid("f1"), start=(500.0, 0.0, 900.0))
    old = ct("old", frame=uid("f2"), acquired=ACQUIRED - timedelta(days=3))
    plan = plan_of(tmp_path, pet(), far, old)
    assert plan.refusal is None
    assert plan.study.reference.read_ct is None
    assert uses(plan)["far"].startswith("skipped")
    assert uses(plan)["old"].startswith("skipped")


def test_one_ct_for_two_scans_is_mentioned(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        plan = plan_of(tmp_path, pet("a"), pet("b", acquired=LATER), ct())
    assert uses(plan)["ct"] == "CT of tp1 and tp2"
    assert "may have moved" in caplog.text


def test_structures_go_to_the_scan_they_were_drawn_on(tmp_path):
    early, late = pet("a"), pet("b", acquired=LATER)
    plan = plan_of(tmp_path, early, late, [rtstruct(late)], [rtstruct(early)])
    assert plan.refusal is None
    assert [row.use for row in plan.series if row.modality == "RTSTRUCT"] == ["structures of tp2", "structures of tp1"]
    assert plan.study.timepoints[1].structures is not None


def test_structures_of_images_that_are_not_there_are_left_out(tmp_path, caplog):
    elsewhere = rtstruct(ct("not here", frame=uid("elsewhere")))
    with caplog.at_level(logging.WARNING):
        plan = plan_of(tmp_path, pet(), [elsewhere])
    assert plan.refusal is None
    assert "none of the images in use" in caplog.text
    assert plan.study.structures is None


def test_structures_on_activity_and_ct_come_together(tmp_path):
    scan, anatomy = pet(), ct()
    plan = plan_of(tmp_path, scan, anatomy, [rtstruct(scan, "tumour")], [rtstruct(anatomy, "liver")])
    assert set(plan.study.structures.present()) == {"tumour", "liver"}
    assert plan.study.structures.role("tumour") == "tumour"


def test_what_is_of_no_use_is_listed(tmp_path):
    dose = every([rtstruct(ct())], Modality="RTDOSE", SOPClassUID=RTDoseStorage)
    dose[0].file_meta.MediaStorageSOPClassUID = RTDoseStorage
    plan = plan_of(tmp_path, pet(), dose)
    assert plan.refusal is None
    assert plan.record()["not_used"][0]["why"] == "skipped: RT Dose Storage is not used"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"calibration_bq_per_ml_per_count": 0.0}, "positive"),
        ({"calibration_bq_per_ml_per_count": 1.0, "sensitivity_cps_per_mbq": 1.0}, "both"),
        ({"administered_mbq": -1.0}, "positive"),
        ({"decay_correction": "half"}, "NONE, START, ADMIN"),
    ],
)
def test_options_that_cannot_be_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        ImportOptions(**options)


# --- real patients


def test_the_lutetium_patient(real_data, tmp_path):
    folder = real_data("lu177_dotatate_2tp")
    facts = json.loads((folder / "EXPECTED.json").read_text())
    plan = plan_import(folder)
    study = plan.study
    assert plan.refusal is None
    assert study.nuclide == "Lu-177"  # coded as C-101ED of 99SDM, '177 Lutetium'
    assert study.administration.activity_mbq == pytest.approx(facts["administration"]["activity_mbq"])
    assert study.administration.time.isoformat() == facts["administration"]["datetime"]
    assert [row.use for row in plan.series] == [
        "activity of tp1", "structures of tp1", "activity of tp2", "structures of tp2",
    ]  # fmt: skip
    for point, scan in zip(study.timepoints, facts["scans"].values(), strict=True):
        activity = point.activity
        now = scan["at_acquisition_start"]
        assert point.time_h == pytest.approx(scan["hours_after_administration"], abs=1e-6)
        assert activity.total_mbq() == pytest.approx(now["total_mbq_in_fov"], rel=1e-7)
        assert activity.data.max() == pytest.approx(now["max_bq_per_ml"], rel=1e-6)
        assert np.allclose(activity.grid.affine, scan["affine_ras_mm_for_array_column_row_slice"], atol=1e-6)
        record = plan.record()["timepoints"][point.id]
        assert record["factor_to_acquisition_start"] == pytest.approx(now["factor"], rel=1e-10)
        assert set(point.structures.present()) == {"lesion1 liver R lobe", "lesion2 liver L lateral"}
        mask, layer = point.structures.mask("lesion1 liver R lobe")
        lesion = scan["rtstruct"]["lesions"][0]
        assert mask.sum() * layer.grid.voxel_volume_ml == pytest.approx(lesion["volume_ml"], rel=0.01)
        mean = activity.data[mask].mean(dtype=np.float64)
        assert mean == pytest.approx(lesion["at_acquisition_start"]["mean_bq_per_ml"], rel=0.01)


def test_the_fdg_patient(real_data):
    plan = plan_import(real_data("fdg_petct"))
    assert {row.modality: row.use for row in plan.series} == {"CT": "CT of tp1", "PT": "activity of tp1"}
    study = plan.study
    assert study.nuclide == "F-18"
    assert study.administration.activity_mbq == pytest.approx(588.802304)
    assert study.reference.time_h == pytest.approx(9527 / 3600)
    activity = study.reference.activity
    np.testing.assert_allclose(study.reference.slice_offsets_h * 3600.0, np.repeat([0, 303, 606], [44, 44, 47]))
    assert activity.total_mbq() == pytest.approx(68.934476, rel=2e-4)
    given_now_bq = 588802304 * 2.0 ** (-9527 / 6588)
    assert activity.data.max() * 91000.0 / given_now_bq == pytest.approx(51.0933, rel=1e-5)  # SUVbw, g/mL


def test_beds_keep_their_times_through_the_study_folder(tmp_path):
    scan = pet("two beds")
    for k, dataset in enumerate(scan):
        dataset.FrameReferenceTime = 0 if k < 2 else 303000
    folder = tmp_path / "study"
    folder.mkdir()
    write_study(plan_of(tmp_path / "in", scan), folder)
    found = load_study(folder).reference
    np.testing.assert_allclose(found.slice_offsets_h, np.where(np.arange(len(scan)) < 2, 0.0, 303.0 / 3600.0))
    assert plan_of(tmp_path / "other", pet("one bed")).study.reference.slice_offsets_h is None


def test_folders_without_activity(real_data):
    assert "no activity image" in plan_import(real_data("rt_dicom") / "malformed_references").refusal.problem
    plan = plan_import(real_data("rt_dicom"))
    assert "two patients" in plan.refusal.problem
    assert len(plan.series) > 15
    assert closing(plan, Path("x"))[-1] == "next: nufitdose import FOLDER_OF_ONE_PATIENT --dry-run"
    with pytest.raises(InputError, match="no DICOM images"):
        plan_import(real_data("totalseg_ct"))
