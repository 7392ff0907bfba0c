"""Times and decay: one truth written in every way DICOM allows is read back as one truth."""

import logging
import math
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from support.dicom_files import ACQUIRED, ADMINISTERED, HALF_LIFE_S, every, nm, pet, plan_of

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.isotope import parse_nuclide
from nufitdose.io.importer.planning import ImportOptions, plan_import
from nufitdose.nuclides import half_life_h

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")
RATE = math.log(2.0) / HALF_LIFE_S


def drug_of(dataset) -> Dataset:
    return dataset.RadiopharmaceuticalInformationSequence[0]


def with_start(scan, moment=None, clock=None):
    for dataset in scan:
        drug = drug_of(dataset)
        for keyword, value in (("RadiopharmaceuticalStartDateTime", moment), ("RadiopharmaceuticalStartTime", clock)):
            if value is None and keyword in drug:
                delattr(drug, keyword)
            elif value is not None:
                setattr(drug, keyword, value)
    return scan


# --- decay


@settings(max_examples=15, deadline=None)
@given(
    correction=st.sampled_from(["ADMIN", "START", "NONE"]),
    hours=st.floats(0.1, 300.0),
    duration_s=st.floats(60.0, 7200.0),
)
def test_one_truth_in_three_conventions(tmp_path_factory, correction, hours, duration_s):
    """A source of c0 at the start of the scan, stored as each convention wants it, is read as c0."""
    acquired = (ADMINISTERED + timedelta(hours=hours)).replace(microsecond=0)
    elapsed_s, duration_s = (acquired - ADMINISTERED).total_seconds(), round(duration_s, 3)
    mean = -math.expm1(-RATE * duration_s) / (RATE * duration_s)
    stored = {"ADMIN": math.exp(RATE * elapsed_s), "START": 1.0, "NONE": mean}[correction]
    scan = pet(acquired=acquired, correction=correction, duration_s=duration_s, slope=lambda k: 10.0 * stored)
    plan = plan_of(tmp_path_factory.mktemp("pet"), scan)
    truth = np.stack([dataset.pixel_array * 10.0 for dataset in scan])
    point = plan.study.reference
    assert point.time_h == pytest.approx(elapsed_s / 3600.0)
    assert np.allclose(point.activity.data.transpose(2, 1, 0), truth, rtol=1e-6)


def test_uncorrected_beds_are_brought_to_the_start_of_the_first(tmp_path):
    scan = pet(correction="NONE", duration_s=600.0)
    for k, dataset in enumerate(scan):
        dataset.AcquisitionTime = "130000" if k < 3 else "131000"
    factors = plan_of(tmp_path, scan).record()["timepoints"]["tp1"]["factor_to_acquisition_start"]
    during = RATE * 600.0 / -math.expm1(-RATE * 600.0)
    assert factors == pytest.approx([during, during * math.exp(RATE * 600.0)], rel=1e-9)


def test_beds_told_apart_by_frame_reference_time_only(tmp_path):
    scan = pet(correction="NONE", duration_s=300.0)
    for k, dataset in enumerate(scan):
        dataset.FrameReferenceTime = 0 if k < 3 else 303000
    low, high = plan_of(tmp_path, scan).record()["timepoints"]["tp1"]["factor_to_acquisition_start"]
    assert high / low == pytest.approx(math.exp(RATE * 303.0), rel=1e-9)


def short_lived(scan, half_life_s=6588.0):
    for dataset in scan:
        drug_of(dataset).RadionuclideHalfLife = half_life_s
        code = drug_of(dataset).RadionuclideCodeSequence[0]
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "C-111A1", "SRT", "^18^Fluorine"
    return scan


def decay_factor(t_s, duration_s=300.0, half_life_s=6588.0):
    rate = math.log(2.0) / half_life_s
    return math.exp(rate * t_s) * rate * duration_s / -math.expm1(-rate * duration_s)


def start_scan(series_after_s=0.0, reference_before_s=0.0, factor=True, frame_reference=False):
    """F-18, START; the series time shifted, the true reference `reference_before_s` before the acquisition."""
    scan = short_lived(pet(correction="START", duration_s=300.0))
    every(scan, SeriesTime=(ACQUIRED + timedelta(seconds=series_after_s)).strftime("%H%M%S"))
    if factor:
        every(scan, DecayFactor=f"{decay_factor(reference_before_s):.6g}")
    if frame_reference:
        rate = math.log(2.0) / 6588.0
        mean = math.log(rate * 300.0 / -math.expm1(-rate * 300.0)) / rate
        every(scan, FrameReferenceTime=f"{1000.0 * (reference_before_s + mean):.3f}")
    return scan


@pytest.mark.parametrize(
    ("case", "before_s"),
    [
        ({}, 0.0),
        ({"series_after_s": -600.0, "reference_before_s": 600.0}, 600.0),
        ({"series_after_s": 7200.0, "reference_before_s": 600.0}, 600.0),  # reprocessed: DecayFactor tells
        ({"series_after_s": 7200.0, "reference_before_s": 600.0, "factor": False, "frame_reference": True}, 600.0),
        ({"series_after_s": 7200.0, "reference_before_s": 90.0, "frame_reference": True}, 90.0),
        ({"series_after_s": -30.0, "factor": False}, 30.0),  # too little to matter
    ],
)
def test_what_start_refers_to(tmp_path, case, before_s):
    record = plan_of(tmp_path, start_scan(**case)).record()["timepoints"]["tp1"]
    assert record["factor_to_acquisition_start"] == pytest.approx(2.0 ** (-before_s / 6588.0), rel=2e-5)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ({"series_after_s": -600.0, "reference_before_s": 0.0}, "DecayFactor"),
        ({"series_after_s": -600.0, "factor": False}, "nothing confirms"),
        ({"series_after_s": 7200.0, "factor": False}, "later processing"),
    ],
)
def test_an_ambiguous_start_is_refused_until_the_user_says(tmp_path, case, words):
    refusal = plan_of(tmp_path, start_scan(**case)).refusal
    assert words in refusal.problem
    assert "--decay-correction" in refusal.remedy
    said = plan_import(tmp_path, ImportOptions(decay_correction="start"))
    assert said.record()["timepoints"]["tp1"]["factor_to_acquisition_start"] == 1.0


CORRECTIONS = {
    "none stated": ({"DecayCorrection": None}, "DecayCorrection (0054,1102)"),
    "unknown": ({"DecayCorrection": "MAYBE"}, "one of NONE, START, ADMIN"),
    "NONE but DECY": ({"DecayCorrection": "NONE"}, "with DECY"),
    "ADMIN without DECY": ({"CorrectedImage": ["ATTN"]}, "without DECY"),
}


@pytest.mark.parametrize("case", CORRECTIONS)
def test_a_decay_correction_that_is_not_clear_is_refused(tmp_path, case):
    change, words = CORRECTIONS[case]
    plan = plan_of(tmp_path, every(pet(), **change))
    assert words in plan.refusal.problem
    with pytest.raises(InputError):
        _ = plan.study


def test_the_option_does_not_overrule_a_clear_file(tmp_path):
    assert "ADMIN" in plan_of(tmp_path, pet(), decay_correction="none").refusal.problem


def test_uncorrected_values_of_unknown_duration_are_taken_when_that_hardly_matters(tmp_path, caplog):
    """Half an hour of Lu-177 decays by 0.2 %, of F-18 by 17 %."""
    plan = plan_of(tmp_path, every(pet(correction="NONE"), ActualFrameDuration=None))
    assert plan.refusal is None
    assert plan.record()["timepoints"]["tp1"]["factor_to_acquisition_start"] == 1.0
    assert "higher by less than 0.2 %" in caplog.text


def test_uncorrected_values_of_a_short_lived_nuclide_need_the_duration(tmp_path):
    scan = every(pet(correction="NONE"), ActualFrameDuration=None)
    for dataset in scan:
        drug = dataset.RadiopharmaceuticalInformationSequence[0]
        drug.RadionuclideHalfLife = 6586.2
        drug.RadionuclideCodeSequence[0].CodeValue = "C-111A1"
        drug.RadionuclideCodeSequence[0].CodeMeaning = "^18^Fluorine"
    assert "ActualFrameDuration" in plan_of(tmp_path, scan).refusal.problem


def test_the_files_own_half_life_undoes_the_files_correction(tmp_path, caplog):
    scan = pet()
    for dataset in scan:
        drug_of(dataset).RadionuclideHalfLife = 560000.0
    with caplog.at_level(logging.WARNING):
        record = plan_of(tmp_path, scan).record()["timepoints"]["tp1"]
    assert record["factor_to_acquisition_start"] == pytest.approx(2.0 ** (-4 * 3600 / 560000.0), rel=1e-9)
    assert "560000 s" in caplog.text


def test_without_a_half_life_the_reference_one_is_taken(tmp_path, caplog):
    scan = pet()
    for dataset in scan:
        del drug_of(dataset).RadionuclideHalfLife
    with caplog.at_level(logging.WARNING):
        record = plan_of(tmp_path, scan).record()["timepoints"]["tp1"]
    assert record["half_life_s"] == pytest.approx(half_life_h("Lu-177") * 3600.0)
    assert "ICRP-107" in caplog.text


@pytest.mark.parametrize(("option", "factor"), [("START", 1.0), ("ADMIN", 2.0 ** (-4 * 3600 / HALF_LIFE_S))])
def test_corrected_spect_needs_its_reference(tmp_path, option, factor):
    dataset = nm()
    dataset.CorrectedImage = ["ATTN", "DECY"]
    refused = plan_of(tmp_path, [dataset], calibration_bq_per_ml_per_count=2.0)
    assert "DECY" in refused.refusal.problem
    plan = plan_import(tmp_path, ImportOptions(calibration_bq_per_ml_per_count=2.0, decay_correction=option))
    assert plan.record()["timepoints"]["tp1"]["factor_to_acquisition_start"] == pytest.approx(factor, rel=1e-9)


# --- clock times


def test_time_zones_are_honoured(tmp_path):
    """09:00 in UTC+2 and 13:00 in UTC+1 lie five hours apart."""
    scan = every(with_start(pet(), "20240101090000+0200", None), TimezoneOffsetFromUTC="+0100")
    assert plan_of(tmp_path, scan).study.reference.time_h == pytest.approx(5.0)


def test_summer_time_between_scans(tmp_path):
    early = every(with_start(pet("a", acquired=datetime(2024, 3, 30, 12)), "20240330100000", None),
                  TimezoneOffsetFromUTC="+0100")  # fmt: skip
    late = every(with_start(pet("b", acquired=datetime(2024, 3, 31, 12)), "20240330110000", None),
                 TimezoneOffsetFromUTC="+0200")  # fmt: skip
    times = [tp.time_h for tp in plan_of(tmp_path, early, late).study.timepoints]
    assert times == pytest.approx([2.0, 25.0])


def test_an_offset_only_in_the_start_is_refused_unless_the_clock_confirms_it(tmp_path):
    refused = plan_of(tmp_path / "a", with_start(pet(), "20240101090000+0000", None)).refusal
    assert "offset from UTC" in refused.problem
    confirmed = plan_of(tmp_path / "b", with_start(pet(), "20240101090000+0100", "090000"))
    assert confirmed.study.reference.time_h == pytest.approx(4.0)


def test_a_given_time_of_another_zone_kind_is_refused(tmp_path):
    assert "offset" in plan_of(tmp_path, pet(), administered_at="2024-01-01T09:00:00+01:00").refusal.problem


def test_a_start_across_midnight_is_four_hours_not_minus_twenty(tmp_path):
    scan = with_start(pet(acquired=datetime(2024, 1, 2, 2)), "20240101220000", "220000")
    assert plan_of(tmp_path, scan).study.reference.time_h == pytest.approx(4.0)


def test_a_time_of_day_takes_the_date_of_the_scan_with_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        plan = plan_of(tmp_path, with_start(pet(), None, "090000"))
    assert plan.study.reference.time_h == pytest.approx(4.0)
    assert "without a date" in caplog.text


def test_a_time_of_day_later_than_the_scan_is_refused_across_midnight(tmp_path):
    scan = with_start(pet(acquired=datetime(2024, 1, 2, 2)), None, "220000")
    assert "day of the administration is unknown" in plan_of(tmp_path, scan).refusal.problem
    plan = plan_import(tmp_path, ImportOptions(administered_at="2024-01-01T22:00:00"))
    assert plan.study.reference.time_h == pytest.approx(4.0)


def test_the_same_clock_on_two_days_is_not_believed(tmp_path):
    """Files of later days that repeat the time of day would put a second administration on each day."""
    early, late = pet("a"), pet("b", acquired=ACQUIRED + timedelta(days=1))
    plan = plan_of(tmp_path, with_start(early, None, "090000"), with_start(late, None, "090000"))
    assert "disagree about the administration" in plan.refusal.problem
    assert "time of day only" in plan.refusal.problem


def test_one_dated_file_dates_the_others(tmp_path):
    late = with_start(pet("b", acquired=ACQUIRED + timedelta(days=1)), None, "090000")
    times = [tp.time_h for tp in plan_of(tmp_path, pet("a"), late).study.timepoints]
    assert times == pytest.approx([4.0, 28.0])


STARTS = {
    "none": ((None, None), "says when the activity was given"),
    "two that differ": (("20240101090000", "083000"), "one of them is wrong"),
    "a date alone": (("20240101", None), "YYYYMMDDHHMMSS"),
    "nonsense": ((None, "250000"), "HHMMSS"),
    "after the scan": (("20240101140000", None), "before the administration"),
    "the year wrong": (("20250101090000", "090000"), "before the administration"),
}


@pytest.mark.parametrize("case", STARTS)
def test_a_start_that_cannot_be_is_refused(tmp_path, case):
    (moment, clock), words = STARTS[case]
    refusal = plan_of(tmp_path, with_start(pet(), moment, clock)).refusal
    assert words in refusal.problem
    assert refusal.where


def test_scans_that_disagree_about_the_start_are_refused(tmp_path):
    late = with_start(pet("b", acquired=ACQUIRED + timedelta(days=1)), "20240101090002", "090002")
    assert "disagree" in plan_of(tmp_path, pet("a"), late).refusal.problem


def test_slices_that_disagree_about_the_start_are_refused(tmp_path):
    scan = pet()
    with_start(scan[3:4], "20240101100000", "100000")
    assert "disagree about what was administered" in plan_of(tmp_path, scan).refusal.problem


def test_a_given_start_overrules_the_file_and_says_so(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        plan = plan_of(tmp_path, pet(), administered_at="2024-01-01 08:00")
    assert plan.study.reference.time_h == pytest.approx(5.0)
    assert "as given" in caplog.text
    record = plan.record()["timepoints"]["tp1"]  # what the file corrected to stays what it was
    assert record["factor_to_acquisition_start"] == pytest.approx(2.0 ** (-4 * 3600 / HALF_LIFE_S), rel=1e-9)


@pytest.mark.parametrize("text", ["yesterday", "2024-01-01", "09:00", "2024-13-01T09:00:00"])
def test_a_start_given_without_date_or_time_is_refused(text):
    with pytest.raises(InputError, match="administration time"):
        ImportOptions(administered_at=text)


def test_acquisition_times_in_order_of_trust(tmp_path, caplog):
    exact = every(pet("a"), AcquisitionDateTime="20240101130030", AcquisitionTime="130000")
    assert plan_of(tmp_path / "a", exact).study.reference.time_h == pytest.approx(4.0 + 30 / 3600)
    apart = every(pet("b"), AcquisitionDateTime="20240101150000")
    assert "AcquisitionDateTime" in plan_of(tmp_path / "b", apart).refusal.problem
    with caplog.at_level(logging.WARNING):
        series_only = plan_of(tmp_path / "c", every(pet("c"), AcquisitionDate=None, AcquisitionTime=None))
    assert series_only.study.reference.time_h == pytest.approx(4.0)
    assert "no acquisition time" in caplog.text
    nothing = every(pet("d"), AcquisitionTime=None, SeriesTime=None)
    assert "when the scan was made" in plan_of(tmp_path / "d", nothing).refusal.problem


def test_old_spellings_of_date_and_time(tmp_path):
    scan = every(pet(), AcquisitionDate="2024.01.01", AcquisitionTime="13:00:00")
    assert plan_of(tmp_path, scan).study.reference.time_h == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("^18^Fluorine", "F-18"), ("18F", "F-18"), ("177 Lutetium", "Lu-177"), ("^177^Lutetium", "Lu-177"),
        ("Lu-177", "Lu-177"), ("^99m^Technetium", "Tc-99m"), ("Tc99m", "Tc-99m"), ("131 Iodine", "I-131"),
        ("Iodine-131", "I-131"), ("Yttrium 90", "Y-90"), ("FDG", None), ("", None), ("Lutetium", None),
        ("999 Lutetium", None),
    ],
)  # fmt: skip
def test_nuclides_in_words(text, name):
    assert parse_nuclide(text) == name


def test_the_fdg_scan_refers_to_its_series_time(real_data):
    """START over three beds; its DecayFactor is exp(λt)·λd/(1 − exp(−λd)) with t = FrameReferenceTime, to 5 digits."""
    plan = plan_import(real_data("fdg_petct"))
    assert plan.record()["timepoints"]["tp1"]["factor_to_acquisition_start"] == 1.0
    assert plan.study.reference.time_h == pytest.approx(9527 / 3600)
    for t_s, stated in ((0, 1.01587), (303, 1.04877), (606, 1.08275)):
        assert decay_factor(t_s) == pytest.approx(stated, rel=1e-5)
