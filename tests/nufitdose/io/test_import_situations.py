"""Situations of the hospital, made small: what is taken, what is refused, which option decides (docs: import)."""

import errno
import logging
import math
from datetime import timedelta

import numpy as np
import pytest
from pydicom.dataset import Dataset
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
    positions,
    radiopharmaceutical,
    rtstruct,
    stored_values,
    uid,
    write,
)

from nufitdose.errors import InputError
from nufitdose.io.importer import ImportOptions, plan_import, write_study
from nufitdose.io.study_folder import load_study

LATER = ACQUIRED + timedelta(days=1)


def drugs(scan, **values):
    for dataset in scan:
        every(dataset.RadiopharmaceuticalInformationSequence, **values)
    return scan


def uses(plan):
    return {row.description: row.use for row in plan.series}


def totals(plan):
    return [row.total_mbq for row in plan.series if row.use.startswith("activity of")]


def accepted(plan):
    assert plan.refusal is None, plan.refusal
    return plan


# --- what the user says is heard before the file is judged (1)


@pytest.mark.parametrize("dose", [0, -5.0, 7400, None])
def test_a_dose_that_cannot_be_does_not_matter_where_it_is_given(tmp_path, dose):
    plan = plan_of(tmp_path, drugs(pet(), RadionuclideTotalDose=dose))
    assert "--administered-mbq" in plan.refusal.remedy
    given = accepted(plan_import(tmp_path, ImportOptions(administered_mbq=7000.0)))
    assert given.study.administration.activity_mbq == 7000.0


@pytest.mark.parametrize("sequence", [[], [radiopharmaceutical(1e9)] * 2])
def test_several_or_no_radiopharmaceuticals_do_not_matter_where_all_is_given(tmp_path, sequence):
    scan = every(pet(), RadiopharmaceuticalInformationSequence=sequence)
    options = {"nuclide": "Lu-177", "administered_mbq": 7400.0, "administered_at": ADMINISTERED.isoformat()}
    plan = accepted(plan_of(tmp_path, scan, **options))
    assert plan.study.timepoints[0].time_h == pytest.approx(4.0)


def test_a_half_life_that_cannot_be_gives_way_to_the_nuclide_given(tmp_path):
    scan = drugs(pet(), RadionuclideHalfLife=1e-9)
    assert "--nuclide" in plan_of(tmp_path, scan).refusal.remedy
    record = accepted(plan_import(tmp_path, ImportOptions(nuclide="Lu-177"))).record()
    assert record["timepoints"]["tp1"]["half_life_s"] == pytest.approx(HALF_LIFE_S, rel=0.005)


@pytest.mark.parametrize("units", ["PROPCNTS", "CPS", "CNTS", ""])
def test_counts_of_any_kind_take_a_factor(tmp_path, units):
    scan = every(pet(correction="NONE"), Units=units or None)
    assert "--calibration" in plan_of(tmp_path, scan).refusal.remedy
    plan = accepted(plan_import(tmp_path, ImportOptions(calibration_bq_per_ml_per_count=2.0)))
    factor = plan.record()["timepoints"]["tp1"]["factor_to_acquisition_start"]
    assert totals(plan) == [pytest.approx(stored_values().sum() * 20.0 * 0.024e-6 * factor, rel=1e-6)]


# --- facts differ from scan to scan (2)


def two_lengths():
    late = nm("late", values=stored_values(5), acquired=LATER)
    late.RotationInformationSequence[0].ActualFrameDuration = 40000
    return [nm("early")], [late]


def test_one_factor_for_scans_of_different_duration_is_refused(tmp_path):
    plan = plan_of(tmp_path, *two_lengths(), calibration_bq_per_ml_per_count=3.0)
    assert "1200 s" in plan.refusal.problem
    assert "2400 s" in plan.refusal.problem
    assert "--for 2 calibration" in plan.refusal.remedy
    own = {"1": {"calibration": 3.0}, "2": {"calibration": "1.5"}}
    plan = accepted(plan_import(tmp_path, ImportOptions(for_series=own)))
    factors = [tp["factor_to_acquisition_start"] for tp in plan.record()["timepoints"].values()]
    wanted = [stored_values(s).sum() * c * f * 0.024e-6 for s, c, f in zip((3, 5), (3.0, 1.5), factors, strict=True)]
    assert totals(plan) == pytest.approx(wanted, rel=1e-6)
    assert "--for 2" in plan.series[1].sources["Bq/mL"]


def test_a_sensitivity_knows_the_duration(tmp_path):
    plan = accepted(plan_of(tmp_path, *two_lengths(), sensitivity_cps_per_mbq=10.0))
    factors = [tp["factor_to_acquisition_start"] for tp in plan.record()["timepoints"].values()]
    wanted = [stored_values(s).sum() / (10.0 * t) * f for s, t, f in zip((3, 5), (1200, 2400), factors, strict=True)]
    assert totals(plan) == pytest.approx(wanted, rel=1e-6)


def test_what_is_said_of_one_series_goes_before_what_is_said_of_all(tmp_path):
    plan = accepted(
        plan_of(
            tmp_path, [nm()],
            calibration_bq_per_ml_per_count=3.0, for_series={uid("nm", "NM"): {"sensitivity": 10.0}},
        )
    )  # fmt: skip
    assert "10 cps/MBq (--for" in plan.series[0].sources["Bq/mL"]


def philips(scan, factor, element=0x09):
    for dataset in scan:
        block = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(element, "DS", f"{factor:.10g}")
    return every(scan, Units="CNTS")


def test_the_activity_factor_of_philips_is_used(tmp_path):
    plan = accepted(plan_of(tmp_path, philips(pet(), 2.5)))
    assert totals(plan) == [pytest.approx(2.5 * totals(accepted(plan_of(tmp_path / "bq", pet())))[0], rel=1e-6)]
    assert "Philips" in plan.series[0].sources["Bq/mL"]


@pytest.mark.parametrize("correction", ["ADMIN", "START"])
def test_suv_is_turned_back(tmp_path, correction):
    """SUVbw = c · weight / activity at the time c refers to."""
    wanted = totals(accepted(plan_of(tmp_path / "bq", pet(correction=correction))))
    left = 2.0 ** (-4 * 3600 / HALF_LIFE_S) if correction == "START" else 1.0
    suv = pet(correction=correction, slope=lambda k: 10.0 * 70_000.0 / (ACTIVITY_MBQ * 1e6 * left))
    every(suv, Units="GML", SUVType="BW")
    assert "Units" in plan_of(tmp_path / "no weight", suv).refusal.problem
    plan = accepted(plan_of(tmp_path / "suv", every(suv, PatientWeight=70.0)))
    assert totals(plan) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("start", ["both", "time of day"])
def test_the_suv_factor_of_philips_is_turned_back(tmp_path, start):
    wanted = totals(accepted(plan_of(tmp_path / "bq", pet(correction="START"))))
    left = 2.0 ** (-4 * 3600 / HALF_LIFE_S)
    scan = every(pet(correction="START", slope=lambda k: 10.0), PatientWeight=70.0)
    if start == "time of day":
        drugs(scan, RadiopharmaceuticalStartDateTime=None)
    plan = accepted(plan_of(tmp_path / "in", philips(scan, 70_000.0 / (ACTIVITY_MBQ * 1e6 * left), element=0x00)))
    assert totals(plan) == pytest.approx(wanted, rel=1e-5)


def test_suv_gives_way_to_bq_per_ml(tmp_path):
    suv = every(pet("suv", values=stored_values(8)), Units="GML", PatientWeight=70.0)
    plan = accepted(plan_of(tmp_path, suv, pet("bq")))
    assert uses(plan)["bq"] == "activity of tp1"
    assert "not in Bq/mL by itself" in uses(plan)["suv"]


# --- plausibility in both directions (3)


def test_a_scan_after_many_half_lives_names_both_dates(tmp_path):
    plan = plan_of(tmp_path, drugs(pet(), RadiopharmaceuticalStartDateTime="20230101090000"))
    assert "2023-01-01" in plan.refusal.problem
    assert "2024-01-01" in plan.refusal.problem
    accepted(plan_import(tmp_path, ImportOptions(accept_implausible=True, administered_at="2023-10-01T09:00:00")))


@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_a_total_that_is_off_by_orders_of_magnitude_is_refused(tmp_path, factor):
    plan = plan_of(tmp_path, pet(slope=lambda k: 10.0 * factor))
    assert "2024-01-01" in plan.refusal.problem
    assert "--accept-implausible" in plan.refusal.remedy
    told = accepted(plan_import(tmp_path, ImportOptions(accept_implausible=True)))
    assert any("implausible" in statement for statement in told.study.statements)


def test_too_little_activity_is_mentioned_as_much_as_too_much(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        accepted(plan_of(tmp_path, pet()))
    assert "check units, calibration and dates" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        accepted(plan_of(tmp_path / "much", pet(slope=lambda k: 2e4)))
    assert "check units" not in caplog.text


# --- corrections (4) and what is not needed (5)


def test_missing_scatter_correction_is_mentioned(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        accepted(plan_of(tmp_path, every(pet(), CorrectedImage=["DECY", "ATTN"])))
    assert "SCAT" in caplog.text


@pytest.mark.parametrize("order", [0, 1])
def test_the_corrected_one_of_two_reconstructions_is_taken_whatever_the_order(tmp_path, order):
    both = [pet("a"), every(pet("b", values=stored_values(4)), CorrectedImage=["DECY", "SCAT"])]
    plan = accepted(plan_of(tmp_path, *(both[::-1] if order else both)))
    assert uses(plan)["a"] == "activity of tp1"
    assert "not attenuation-corrected" in uses(plan)["b"]


def test_every_refusal_of_a_series_says_how_to_go_on_without_it(tmp_path):
    plan = plan_of(tmp_path, pet("good"), every(pet("bad", acquired=LATER), Units="CPS"))
    assert "--series 1" in plan.refusal.remedy
    accepted(plan_import(tmp_path, ImportOptions(series=("1",))))


def test_the_ct_nearest_in_time_is_taken(tmp_path):
    plan = accepted(plan_of(tmp_path, pet(), ct("low dose"), ct("contrast", acquired=ACQUIRED + timedelta(hours=1))))
    assert uses(plan)["low dose"] == "CT of tp1"
    assert uses(plan)["contrast"].startswith("skipped: another CT")


def test_a_ct_that_covers_the_scan_is_taken_before_one_that_does_not(tmp_path):
    part = ct("block", values=stored_values(2)[:3] % 2048, acquired=ACQUIRED + timedelta(minutes=5))
    plan = accepted(plan_of(tmp_path, pet(), part, ct("whole", acquired=ACQUIRED - timedelta(minutes=30))))
    assert uses(plan)["whole"] == "CT of tp1"


# --- structures (6)


def bad_contour(image, points):
    structures = rtstruct(image, "liver")
    roi, contours = Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = 2, "bad", "MANUAL"
    roi.ReferencedFrameOfReferenceUID = image[0].FrameOfReferenceUID
    contour = Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points) // 3
    contour.ContourData = points
    contours.ReferencedROINumber, contours.ContourSequence = 2, [contour]
    structures.StructureSetROISequence.append(roi)
    structures.ROIContourSequence.append(contours)
    return structures


@pytest.mark.parametrize(
    "points", [[-30, -20, 100, -30, -10, 100, -30, -10, 116], [-30, -20, 100, -26, -20], [-30, -20, 100, -26, -20, 100]]
)
def test_one_bad_structure_does_not_stop_the_rest(tmp_path, points, caplog):
    scan = pet()
    with caplog.at_level(logging.WARNING):
        plan = accepted(plan_of(tmp_path / "in", scan, [bad_contour(scan, points)]))
    (row,) = [row for row in plan.series if row.modality == "RTSTRUCT"]
    assert [(name, role) for name, role, _ in row.structures] == [("liver", "organ")]
    assert "bad" in caplog.text
    (tmp_path / "out").mkdir()
    assert load_study(write_study(plan, tmp_path / "out")).structures.present() == ("liver",)


def test_structures_that_cannot_be_read_are_left_out(tmp_path, caplog):
    scan = pet()
    broken = rtstruct(scan)
    del broken.ROIContourSequence
    with caplog.at_level(logging.WARNING):
        plan = accepted(plan_of(tmp_path, scan, [broken]))
    assert "ROIContourSequence" in next(row.use for row in plan.series if row.modality == "RTSTRUCT")


# --- nothing is lost silently (7), explicit statements are recorded (8)


def test_links_to_folders_are_listed(tmp_path, caplog):
    write(tmp_path / "in", pet())
    write(tmp_path / "elsewhere", pet("late", acquired=LATER))
    (tmp_path / "in/link").symlink_to(tmp_path / "elsewhere")
    with caplog.at_level(logging.WARNING):
        plan = accepted(plan_import(tmp_path / "in"))
    assert "link" in caplog.text
    assert plan.record()["links_not_followed"] == [str(tmp_path / "in/link")]


def forbid(monkeypatch, path):
    """Make a file one that may not be opened (root may open any, so its mode would not do)."""
    opened = type(path).open

    def refuse(self, *args, **more):
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(self, *args, **more)

    monkeypatch.setattr(type(path), "open", refuse)


def test_a_file_that_cannot_be_read_is_named_and_does_not_stop(tmp_path, caplog, monkeypatch):
    wanted = totals(accepted(plan_of(tmp_path, pet())))
    (report,) = write(tmp_path / "dose report", ct()[:1])
    forbid(monkeypatch, report)
    with caplog.at_level(logging.WARNING):
        plan = accepted(plan_import(tmp_path))
    assert f"1 files could not be read: {report}" in caplog.text
    assert plan.record()["unreadable"] == [str(report)]
    assert totals(plan) == wanted


@pytest.mark.parametrize("lost", [1, -1])
def test_a_slice_that_cannot_be_read_is_missed(tmp_path, lost, monkeypatch):
    forbid(monkeypatch, write(tmp_path, pet())[lost])
    assert plan_import(tmp_path).refusal is not None


@pytest.mark.parametrize("needed", [True, False])
def test_a_damaged_header_stops_only_where_its_series_is_needed(tmp_path, needed):
    """The outer slice of a CT: without it the CT would be an even stack, only shorter."""
    made = ct("damaged")
    del made[-1].SOPInstanceUID
    scans = [pet(), made] if needed else [pet(), ct("whole"), made]
    plan = plan_of(tmp_path, *scans)
    damaged = next(row.use for row in plan.series if row.description == "damaged")
    assert "SOPInstanceUID" in damaged
    if needed:
        assert "SOPInstanceUID" in plan.refusal.problem
    else:
        assert accepted(plan).study.timepoints[0].ct is not None


def test_a_sound_header_without_its_series_stops(tmp_path):
    made = ct()
    del made[-1].SeriesInstanceUID
    with pytest.raises(InputError, match="SeriesInstanceUID"):
        plan_of(tmp_path, pet(), made)


def test_an_acquisition_time_given_overrules_and_is_recorded(tmp_path):
    given = {"1": {"acquired_at": "2024-01-01T15:00:00"}}
    plan = accepted(plan_of(tmp_path / "in", pet(correction="NONE"), for_series=given))
    assert plan.study.timepoints[0].time_h == pytest.approx(6.0)
    (tmp_path / "out").mkdir()
    (statement,) = load_study(write_study(plan, tmp_path / "out")).statements
    assert "2024-01-01T15:00:00" in statement
    assert "the file says 2024-01-01T13:00:00" in statement


def test_a_decay_reference_said_of_one_series_overrules_its_file(tmp_path):
    plan = accepted(plan_of(tmp_path, pet(), for_series={"1": {"decay_correction": "start"}}))
    assert plan.record()["timepoints"]["tp1"]["factor_to_acquisition_start"] == 1.0
    assert "the file says ADMIN" in plan.study.statements[0]


def test_a_load_of_such_a_study_says_what_was_stated(tmp_path, caplog):
    (tmp_path / "out").mkdir()
    write_study(accepted(plan_of(tmp_path / "in", pet(), nuclide="I-131", administered_mbq=7400.0)), tmp_path / "out")
    with caplog.at_level(logging.WARNING):
        load_study(tmp_path / "out")
    assert "stated in study.yaml: nuclide I-131 as given with --nuclide; the file says Lu-177" in caplog.text


def test_hours_stand_for_dates(tmp_path):
    scan = every(
        [nm()], AcquisitionDate="", AcquisitionTime="", SeriesDate="", SeriesTime="", StudyDate="", StudyTime=""
    )
    options = {"calibration_bq_per_ml_per_count": 3.0, "nuclide": "Lu-177", "administered_mbq": 7400.0}
    assert "--hours" in plan_of(tmp_path, scan, **options).refusal.remedy
    study = accepted(plan_import(tmp_path, ImportOptions(**options, hours=24.0))).study
    assert study.timepoints[0].time_h == pytest.approx(24.0)
    assert study.administration.time is None


def test_hours_for_one_scan_of_two_are_not_enough(tmp_path):
    plan = plan_of(tmp_path, pet("a"), pet("b", acquired=LATER), for_series={"1": {"hours": 4.0}})
    assert "--for 2 hours" in plan.refusal.remedy


# --- sameness is tolerant (9)


def test_positions_rounded_to_a_tenth_of_a_millimetre_make_an_even_stack(tmp_path):
    rounded = [[round(x, 1) for x in place] for place in positions(6, step=3.27)]
    plan = accepted(plan_of(tmp_path, pet(positions=rounded)))
    assert plan.series[0].spacing_mm[2] == pytest.approx(3.27, abs=0.03)


# --- the decisive reason comes first (10)


def test_projections_are_named_before_a_missing_patient(tmp_path):
    raw = every([nm()], ImageType=["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"], PatientID="")
    refusal = plan_of(tmp_path, raw).refusal
    assert "TOMO" in refusal.problem
    assert "not a reconstruction" in refusal.problem
    assert "reconstruction=true" in refusal.remedy
    plan = plan_import(
        tmp_path,
        ImportOptions(patient="P", calibration_bq_per_ml_per_count=3.0, for_series={"1": {"reconstruction": "yes"}}),
    )
    accepted(plan)


# --- beds, gates, single slices


@pytest.mark.parametrize("frame", [None, uid("other frame")])
@pytest.mark.parametrize("correction", ["ADMIN", "NONE", "START"])
def test_beds_are_joined_where_the_user_says_so(tmp_path, frame, correction):
    minutes = 25
    own = {} if frame is None else {"frame": frame}
    lower = pet("lower", values=stored_values(5), correction=correction)
    upper = pet(
        "upper", acquired=ACQUIRED + timedelta(minutes=minutes), start=(-30, -20, 124), correction=correction, **own
    )
    apart = plan_of(tmp_path, lower, upper)
    assert "--join-beds" in apart.refusal.remedy
    plan = accepted(plan_import(tmp_path, ImportOptions(join_beds=True)))
    (point,) = plan.study.timepoints
    assert point.activity.grid.shape == (4, 5, 12)
    np.testing.assert_allclose(point.slice_offsets_h, np.repeat([0.0, minutes / 60], 6))
    rate, lasted = math.log(2.0) / HALF_LIFE_S, 1200.0
    mean = rate * lasted / -math.expm1(-rate * lasted)
    to_start = {"ADMIN": 2.0 ** (-4 * 3600 / HALF_LIFE_S), "NONE": mean, "START": 1.0}[correction]
    late = {"ADMIN": 1.0, "NONE": 2.0 ** (minutes * 60 / HALF_LIFE_S), "START": 2.0 ** (minutes * 60 / HALF_LIFE_S)}
    data = point.activity.data.transpose(2, 1, 0)
    np.testing.assert_allclose(data[:6], stored_values(5) * 10.0 * to_start, rtol=1e-6)
    np.testing.assert_allclose(data[6:], stored_values(1) * 10.0 * to_start * late[correction], rtol=1e-6)
    assert "joined as beds" in plan.study.statements[0]


def test_beds_that_overlap_share_the_overlap(tmp_path):
    lower = pet("lower", values=stored_values(5))
    upper = pet("upper", acquired=ACQUIRED + timedelta(minutes=25), start=(-30, -20, 116))
    plan = accepted(plan_of(tmp_path, lower, upper, join_beds=True))
    assert plan.study.timepoints[0].activity.grid.shape == (4, 5, 10)
    np.testing.assert_allclose(plan.study.timepoints[0].slice_offsets_h, np.repeat([0.0, 25 / 60], 5))


def test_beds_of_another_grid_are_not_joined(tmp_path):
    upper = pet("upper", acquired=ACQUIRED + timedelta(minutes=25), start=(-30, -20, 125.5))
    refusal = plan_of(tmp_path, pet("lower"), upper, join_beds=True).refusal
    assert "cannot be joined" in refusal.problem


@pytest.mark.parametrize("kind", ["DYNAMIC", "GATED"])
def test_series_of_many_volumes_are_refused_with_the_way_out(tmp_path, kind):
    refusal = plan_of(tmp_path, every(pet(), SeriesType=[kind, "IMAGE"])).refusal
    assert "Export the" in refusal.remedy


def test_a_gated_reconstruction_is_refused_with_the_way_out(tmp_path):
    gated = every([nm()], ImageType=["ORIGINAL", "PRIMARY", "RECON GATED TOMO"])
    assert "without gating" in plan_of(tmp_path, gated).refusal.remedy


def test_a_projection_of_a_volume_is_no_volume(tmp_path):
    plan = accepted(plan_of(tmp_path, pet(), every(pet("mip"), ImageType=["DERIVED", "SECONDARY", "MIP"])))
    assert uses(plan)["mip"] == "skipped: projection, not a volume"


# --- structures on another image, brought over by a registration object


def registration(source, target, matrix, kind="RIGID"):
    """A REG object in the frame of `target`, into which `matrix` (LPS mm) brings that of `source`."""
    made = rtstruct(target)
    for keyword in ("ReferencedFrameOfReferenceSequence", "StructureSetROISequence", "ROIContourSequence"):
        delattr(made, keyword)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.1"
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = uid("registration")
    made.SeriesInstanceUID, made.Modality, made.SeriesDescription = uid("registration series"), "REG", "registration"
    made.FrameOfReferenceUID = target[0].FrameOfReferenceUID
    items = []
    for frame, values in ((target[0].FrameOfReferenceUID, np.eye(4)), (source[0].FrameOfReferenceUID, matrix)):
        part, step, item = Dataset(), Dataset(), Dataset()
        part.FrameOfReferenceTransformationMatrixType = kind
        part.FrameOfReferenceTransformationMatrix = np.asarray(values, dtype=float).ravel().tolist()
        step.MatrixSequence = [part]
        item.FrameOfReferenceUID, item.MatrixRegistrationSequence = frame, [step]
        items.append(item)
    made.RegistrationSequence = items
    return [made]


def shift_of(structures):
    mask, layer = structures.mask("kidney_left")
    return layer.grid.world(np.argwhere(mask).astype(float)).mean(axis=0)


def test_structures_come_over_a_rigid_registration(tmp_path, caplog):
    """Drawn on a CT of another day; two voxels along each axis between the frames."""
    scan = pet()
    old = ct("planning", frame=uid("planning frame"), acquired=ACQUIRED - timedelta(days=9))
    shift = np.eye(4)
    shift[:3, 3] = [2.0, 3.0, 4.0]
    drawn = [rtstruct(old)]
    alone = accepted(plan_of(tmp_path / "alone", scan, old, drawn))
    assert alone.study.structures is None
    with caplog.at_level(logging.WARNING):
        plan = accepted(plan_of(tmp_path / "in", scan, old, drawn, registration(old, scan, shift)))
    assert "by a registration object" in caplog.text
    (tmp_path / "out").mkdir()
    moved = load_study(write_study(plan, tmp_path / "out")).structures
    direct = accepted(plan_of(tmp_path / "direct", scan, [rtstruct(scan)])).study.structures
    assert shift_of(moved) - shift_of(direct) == pytest.approx([-2.0, -3.0, 4.0])  # RAS+
    assert moved.volume_ml("kidney_left") == pytest.approx(direct.volume_ml("kidney_left"))


@pytest.mark.parametrize(("kind", "scale"), [("AFFINE", 1.0), ("RIGID", 1.2)])
def test_a_registration_that_is_not_rigid_is_left_out(tmp_path, kind, scale, caplog):
    scan = pet()
    old = ct("planning", frame=uid("planning frame"), acquired=ACQUIRED - timedelta(days=9))
    other = registration(old, scan, np.diag([scale, 1.0, 1.0, 1.0]), kind)
    with caplog.at_level(logging.WARNING):
        plan = accepted(plan_of(tmp_path, scan, old, [rtstruct(old)], other))
    assert plan.study.structures is None
    assert "the registration is left out" in caplog.text


def test_a_study_of_fewer_scans_than_the_folder_holds_says_so(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        accepted(plan_of(tmp_path, pet("a"), pet("b", acquired=LATER), series=("1",)))
    assert "1 time point; the folder holds more activity series: series 2 ('b')" in caplog.text
