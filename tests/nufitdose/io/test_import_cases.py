"""Situations from public bug reports on real images (`cases/` of the real data): what must come out of each.

The source of each report stands in the README beside its input.
"""

import logging

import numpy as np
import pytest

from nufitdose.errors import InputError
from nufitdose.io.importer import ImportOptions, plan_import, write_study
from nufitdose.io.study_folder import load_study

AT = "1960-01-15T09:00:00"
TIMES_H = (24.996, 96.996)


@pytest.fixture
def case(real_data):
    folder = real_data("cases")

    def planned(place, **options):
        return plan_import(folder / place, ImportOptions(**options))

    return planned


def scans(plan):
    return [(row.hours, row.total_mbq) for row in plan.series if row.use.startswith("activity of")]


def uses(plan):
    return {row.description: row.use for row in plan.series}


def one_scan(plan, hours, total_mbq):
    assert plan.refusal is None, plan.refusal
    assert plan.study.timepoints
    assert scans(plan) == [(pytest.approx(hours, abs=1e-3), pytest.approx(total_mbq, rel=1e-3))]


def test_02_a_start_that_contradicts_itself_is_settled_by_the_user(case):
    place = "02-start-datetime-against-time/input/a_utc"
    assert "--administered-at" in case(place).refusal.remedy
    one_scan(case(place, administered_at=AT), TIMES_H[0], 13.784)


@pytest.mark.parametrize("options", [{}, {"administered_at": AT}])
def test_02_a_date_alone_is_that_of_the_time_of_day(case, options):
    plan = case("02-start-datetime-against-time/input/b_date_only", **options)
    one_scan(plan, TIMES_H[0], 13.784)
    assert plan.study.administration.time.isoformat() == AT


GIVEN = {
    "nuclide": "Lu-177",
    "administered_mbq": 7400.0,
    "administered_at": AT,
    "decay_correction": "none",
    "calibration_bq_per_ml_per_count": 100.0,
}


@pytest.mark.parametrize("part", ["a_pt_slices", "a2_pt_slices_intercept_added", "b_nm_single"])
def test_03_a_reconstruction_in_counts_without_facts(case, part):
    plan = case(f"03-pytomography-reconstruction/input/{part}", **GIVEN)
    one_scan(plan, TIMES_H[0], 0.57284)
    (row,) = plan.series
    assert row.matrix == (64, 64, 24)
    assert row.spacing_mm == pytest.approx((9.375, 9.375, 3.27), abs=1e-5)


def test_03_a_scan_without_date_is_dated_by_the_user(case):
    place = "03-pytomography-reconstruction/input/c_nm_no_acquisition_date"
    assert "--acquired-at" in case(place, **GIVEN).refusal.remedy
    one_scan(case(place, **GIVEN, acquired_at="1960-01-16T09:59:47"), TIMES_H[0], 0.57284)
    one_scan(case(place, **GIVEN, hours=24.0), 24.0, 0.57284)
    undated = {key: value for key, value in GIVEN.items() if key != "administered_at"}
    plan = case(place, **undated, for_series={"1": {"hours": 24.0}})
    one_scan(plan, 24.0, 0.57284)
    assert plan.study.administration.time is None


def test_04_values_without_attenuation_correction_are_refused_unless_insisted_on(case, tmp_path):
    place = "04-not-attenuation-corrected/input/a_nac_alone"
    refusal = case(place).refusal
    assert "ATTN" in refusal.problem
    assert "--accept-uncorrected" in refusal.remedy
    plan = case(place, accept_uncorrected=True)
    assert scans(plan)[0][1] == pytest.approx(3.44, abs=0.01)
    manifest = write_study(plan, tmp_path)
    assert any("uncorrected" in statement for statement in load_study(manifest).statements)


@pytest.mark.parametrize(("part", "other"), [("b_ac_and_nac", "WB NAC"), ("c_ac_and_mip", "MIP")])
def test_04_the_corrected_series_is_taken_and_the_others_are_listed(case, part, other):
    plan = case(f"04-not-attenuation-corrected/input/{part}")
    assert plan.refusal is None
    assert [total for _, total in scans(plan)] == [pytest.approx(13.77, abs=0.01)]
    assert uses(plan)["CT IMAGES"] == "CT of tp1"
    assert uses(plan)[other].startswith("skipped")
    assert other in {row.description for row in plan.series if row.series_uid in str(plan.record()["not_used"])}


def test_07_a_slice_step_that_is_missing_is_given(case):
    place = "07-nm-spacing-between-slices-empty/input"
    calibrated = {"calibration_bq_per_ml_per_count": 1.0}
    refusal = case(place, **calibrated).refusal
    assert "--slice-step" in refusal.remedy
    assert "3.27" in refusal.remedy  # what SliceThickness would say
    plan = case(place, **calibrated, slice_step_mm=3.270001)
    assert [total for _, total in scans(plan)] == [pytest.approx(3.06, abs=0.01)]
    assert plan.series[0].matrix == (64, 64, 24)
    assert any("slice step" in statement for statement in plan.study.statements)


def test_10_a_ct_that_is_not_needed_does_not_stop(case, tmp_path):
    plan = case("10-unneeded-ct-blocks/input/a")
    assert plan.refusal is None
    assert uses(plan)["CT"] == "CT of tp1"
    assert uses(plan)["MONITORING"].startswith("skipped")
    assert load_study(write_study(plan, tmp_path)).reference.ct is not None


def test_10_acquisitions_of_one_ct_series_are_told_apart(case):
    plan = case("10-unneeded-ct-blocks/input/b")
    assert plan.refusal is None
    found = [(row.number, row.use) for row in plan.series if row.modality == "CT"]
    assert [use for _, use in found].count("CT of tp1") == 1
    (other,) = [number for number, use in found if use.startswith("skipped")]
    chosen = case("10-unneeded-ct-blocks/input/b", series=(other,))
    assert [row.use for row in chosen.series if row.number == other] == ["CT of tp1"]


def test_13_one_object_in_two_encodings_counts_once(case):
    plan = case("13-same-object-other-encoding/input")
    assert plan.refusal is None
    assert [total for _, total in scans(plan)] == [pytest.approx(13.77, abs=0.01)]
    assert plan.record()["copies_left_out"] == 24


def test_15_a_patient_whose_id_changed(case, caplog):
    refusal = case("15-patient-id-changes/input").refusal
    assert "two patients" in refusal.problem
    assert "--patient" in refusal.remedy
    with caplog.at_level(logging.WARNING):
        plan = case("15-patient-id-changes/input", patient="CASE1")
    assert plan.refusal is None
    assert scans(plan) == [(pytest.approx(h, abs=1e-3), pytest.approx(13.78, abs=0.01)) for h in TIMES_H]
    assert "--patient" in caplog.text
    assert plan.study.statements[0] == "patient CASE1 as given with --patient; the files name another"
    assert "EXT-0042" not in plan.redaction.text("PatientID is EXT-0042")


def test_18_values_refer_to_the_series_time(case):
    factor = 2.0 ** (-3000 / 6588)
    by_factor = case("18-start-refers-to-series/input/a_decayfactor")
    assert scans(by_factor)[0][1] == pytest.approx(13.774 * factor, rel=1e-3)
    place = "18-start-refers-to-series/input/b_without"
    assert "series" in case(place).refusal.remedy
    assert scans(case(place, decay_correction="series"))[0][1] == pytest.approx(13.774 * factor, rel=1e-3)
    assert scans(case(place, decay_correction="start"))[0][1] == pytest.approx(13.774, rel=1e-3)


@pytest.mark.parametrize("part", ["one_frame", "two_frames"])
def test_19_beds_are_told_from_time_points(case, part):
    refusal = case(f"19-beds-in-two-frames/input/{part}", calibration_bq_per_ml_per_count=100.0).refusal
    assert "beds of one scan" in refusal.problem
    assert "--join-beds" in refusal.remedy


@pytest.mark.parametrize("options", [{"administered_at": AT}, {"administered_at": f"{AT}+01:00"}])
def test_20_a_zone_that_one_scan_states(case, options):
    refusal = case("20-time-zone-in-one-scan/input").refusal
    assert "--utc-offset" in refusal.remedy
    plan = case("20-time-zone-in-one-scan/input", **options)
    assert plan.refusal is None, plan.refusal
    assert [hours for hours, _ in scans(plan)] == pytest.approx(TIMES_H, abs=1e-3)


def test_20_a_zone_given_for_all(case):
    plan = case("20-time-zone-in-one-scan/input", utc_offset="+01:00")
    assert plan.refusal is None, plan.refusal
    assert [hours for hours, _ in scans(plan)] == pytest.approx(TIMES_H, abs=1e-3)


def test_23_slices_of_an_nm_volume_in_single_files(case):
    plan = case("23-nm-one-file-per-slice/input", calibration_bq_per_ml_per_count=1.0)
    assert plan.refusal is None, plan.refusal
    assert [total for _, total in scans(plan)] == [pytest.approx(3.06, abs=0.01)]
    assert plan.series[0].matrix == (64, 64, 24)


def test_25_labels_that_are_almost_whole(real_data):
    study = load_study(real_data("cases") / "25-labels-almost-whole/input/study")
    assert {name: study.structures.volume_ml(name) for name in study.structures.present()} == pytest.approx(
        {"liver": 64.0, "spleen": 64.0}
    )


def test_27_one_name_on_two_images(case, tmp_path):
    plan = case("27-one-name-on-ct-and-pet/input")
    assert plan.refusal is None, plan.refusal
    study = load_study(write_study(plan, tmp_path))
    assert set(study.structures.present()) == {"Liver", "Liver (2)", "Lesion 1"}
    assert study.structures.role("Lesion 1") == "tumour"


def test_28_one_structure_that_is_not_axial(case, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        plan = case("28-one-roi-not-axial/input")
    assert plan.refusal is None, plan.refusal
    assert "Spine line" in caplog.text
    (row,) = [row for row in plan.series if row.modality == "RTSTRUCT"]
    assert [(name, role) for name, role, _ in row.structures] == [("Liver", "organ"), ("Kidney L", "organ")]
    study = load_study(write_study(plan, tmp_path))
    volumes = [study.structures.volume_ml(name) for name in ("Liver", "Kidney L")]
    assert volumes == pytest.approx([117.7, 52.3], rel=0.02)
    assert np.isfinite(volumes).all()
    with pytest.raises(InputError, match="no such folder"):
        case("28-one-roi-not-axial/input/none")
