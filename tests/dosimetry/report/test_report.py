"""The report: right sides, right numbers, one page that needs nothing else."""

import dataclasses
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from scipy.spatial.transform import Rotation
from support.report_patient import (
    CENTRES_MM,
    NAMES,
    RADII_MM,
    SHIFT_MM,
    SPACING_MM,
    ball,
    patient,
    quality,
    record,
    write_page,
)
from support.results_folder import page_data

from dosimetry.config import DosimetrySettings, ReportSettings
from dosimetry.dose import AbsorbedDose
from dosimetry.findings.balance import balance_of
from dosimetry.findings.gather import gather_findings
from dosimetry.lights.values import tally
from dosimetry.recovery import Recovery, StructureRecovery
from dosimetry.report import pictures
from dosimetry.report.budget import front_rows
from dosimetry.report.checks import State, lights
from dosimetry.report.figures import house_style, save_jpeg
from dosimetry.report.head import head_facts, worst_light
from dosimetry.report.methods_paragraph import left_out, methods_paragraph
from dosimetry.report.numbers import gray, percent, three, with_error, with_sign
from dosimetry.report.palette import look
from dosimetry.report.pictures import _stages
from dosimetry.report.planes import AXIAL, CORONAL, ORIENTATIONS, SAGITTAL, Box, box_of, cut
from dosimetry.report.recovery_words import recovery_fact, recovery_sentences
from dosimetry.report.registration_tables import pair_lights, quality_table
from dosimetry.report.tables import recovery_cell
from dosimetry.results import PatientResults
from nufitdose.grid import Grid
from nufitdose.nuclides import half_life_h
from nufitdose.registration.engines.registry import ENGINES
from nufitdose.registration.lights import PairLight, PairState
from nufitdose.registration.scan_to_scan import RigidPart
from nufitdose.registration.series import Frame
from nufitdose.scanner import Scanner
from nufitdose.study import Details
from nufitdose.volume import Quantity, Volume

DATED = record(started="2024-03-05T10:00:00+00:00", inputs={"study.yaml": "ab" * 32})


@pytest.fixture(scope="module")
def usual() -> PatientResults:
    return patient()


@pytest.fixture(scope="module")
def written(usual, tmp_path_factory):
    """The page of the usual patient, as a path."""
    return write_page(usual, DATED, tmp_path_factory.mktemp("report"))


class Page(HTMLParser):
    """Collects text, addresses and tags, and demands that tags close in order."""

    VOID = frozenset({"meta", "img", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.addresses, self.tags, self.open = "", [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href", "xlink:href"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & {*self.open}:
            self.text += data


def page_of(results: PatientResults, folder, **changes) -> Page:
    path = write_page(results, record(**changes), folder)
    assert path == folder / "report.html"
    return Page(path.read_text(encoding="utf-8"))


# --- planes -----------------------------------------------------------------------------------------------------


def test_letters_are_those_of_the_radiological_display():
    assert AXIAL.letters == ("R", "L", "A", "P")
    assert CORONAL.letters == ("R", "L", "S", "I")
    assert SAGITTAL.letters == ("A", "P", "S", "I")


def grids():
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("xyz", (12.0, -9.0, 20.0), degrees=True).as_matrix() @ np.diag((5.0, 4.0, 6.0))
    turned[:3, 3] = -turned[:3, :3] @ (np.array((41, 51, 35)) - 1) / 2
    flipped = np.array([[-5.0, 0, 0, 100.0], [0, -4.0, 0, 100.0], [0, 0, 6.0, -102.0], [0, 0, 0, 1]])
    mixed = np.array([[0, 0, 5.0, -100.0], [-4.0, 0, 0, 100.0], [0, 6.0, 0, -102.0], [0, 0, 0, 1]])
    return {
        "RAS": Grid.from_spacing((41, 51, 35), (5.0, 4.0, 6.0)),
        "LPS": Grid((41, 51, 35), flipped),
        "permuted": Grid((51, 35, 41), mixed),
        "oblique": Grid((41, 51, 35), turned),
    }


@pytest.mark.parametrize("name", ["RAS", "LPS", "permuted", "oblique"])
def test_a_spot_stands_where_the_letters_say_on_any_grid(name):
    spot_mm = np.array([-35.0, 30.0, 45.0])  # patient left, anterior, superior
    grid = grids()[name]
    volume = Volume(ball(grid, spot_mm, 9.0).astype(np.float32), grid, Quantity.ACTIVITY)
    box = Box(np.full(3, -80.0), np.full(3, 80.0), spot_mm)
    for plane in ORIENTATIONS:
        picture = cut(volume, box.points(plane, 2.0))
        rows, columns = np.nonzero(picture > 0.5)
        right, down = columns.mean() / picture.shape[1] - 0.5, rows.mean() / picture.shape[0] - 0.5
        toward = {"L": right if plane.letters[1] == "L" else None, "P": right if plane.letters[1] == "P" else None}
        if toward["L"] is not None:
            assert right == pytest.approx(35.0 / 160.0, abs=0.02)
        else:
            assert right == pytest.approx(-30.0 / 160.0, abs=0.02)
        assert down == pytest.approx(-(30.0 if plane is AXIAL else 45.0) / 160.0, abs=0.02)


def test_the_finished_picture_shows_the_left_on_the_right(tmp_path):
    results = patient((24.0,), names={}, ct=True)
    grid = results.maps.dose.grid
    dose = np.where(ball(grid, (-60.0, 40.0, 0.0), 12.0), 10.0, 0.0)
    results = dataclasses.replace(
        results, maps=dataclasses.replace(results.maps, absorbed=AbsorbedDose(Volume(dose, grid, Quantity.DOSE), None))
    )
    box = dataclasses.replace(box_of(results), at_mm=np.array([-60.0, 40.0, 0.0]))
    with house_style():
        overlay, _ = pictures.dose_overlay(results, box, {})
    save_jpeg(overlay, tmp_path / "dose.jpg")
    image = imread(tmp_path / "dose.jpg")[..., :3] / 255.0
    coloured = image.max(axis=-1) - image.min(axis=-1) > 0.3
    axial = coloured[:, : int(image.shape[1] * 0.33)]
    middle = np.nonzero((image.max(axis=-1) < 0.99)[:, : axial.shape[1]].any(axis=0))[0].mean()
    assert np.nonzero(axial)[1].mean() > middle + 20  # patient left, right of the middle
    assert np.nonzero(axial)[0].mean() < image.shape[0] / 2 - 20  # anterior, above the middle


def test_planes_pass_through_the_structures(usual):
    at = box_of(usual).at_mm
    for axis in range(3):
        hit = [abs(CENTRES_MM[n][axis] - at[axis]) < RADII_MM[n] for n in NAMES]
        assert sum(hit) >= 2


def test_the_box_holds_body_and_structures(usual):
    box = box_of(usual)
    for label, centre in CENTRES_MM.items():
        assert (box.low_mm <= np.array(centre) - RADII_MM[label] + SPACING_MM).all()
        assert (box.high_mm >= np.array(centre) + RADII_MM[label] - SPACING_MM).all()
    assert ((box.high_mm - box.low_mm) < 2 * 105.0 + 60.0).all()


# --- numbers ----------------------------------------------------------------------------------------------------


def test_numbers_keep_three_significant_digits():
    printed = {1234.5: "1230", 0.012345: "0.0123", 99.96: "100", 5.0: "5.00", 0.0: "0", -2.345: "−2.35"}
    assert {value: three(value) for value in printed} == printed
    assert three(1234.5) == "1230"
    assert three(1.5e9) == "1.50×10⁹"
    assert three(2e-7) == "2.00×10⁻⁷"
    assert three(float("nan")) == three(float("inf")) == "–"


@given(st.floats(1e-3, 9.9e5))
def test_a_printed_number_is_within_half_a_percent(value):
    assert float(three(value)) == pytest.approx(value, rel=5.0001e-3)


def test_errors_percentages_and_signs():
    assert with_error(12.346, 0.678) == "12.35 ± 0.68"
    assert with_error(-12.346, 8.96) == "−12.3 ± 9.0"
    assert with_error(12.346, 9.96) == "12 ± 10"
    assert with_error(0.3, 14.0) == "0 ± 14"
    assert with_error(12.345, float("nan")) == "12.3"
    assert with_error(0.0437, 8.3e-4) == "0.04370 ± 0.00083"
    assert with_error(1.43e-5, 1.5e-6) == "(1.43 ± 0.15)×10⁻⁵"
    assert with_error(14600.0, 1234.0) == "14600 ± 1200"
    assert percent(0.0) == "0 %"
    assert percent(0.01) == percent(-0.01) == "< 0.1 %"
    assert percent(99.97) == "99.9 %"
    assert percent(100.0) == "100 %"
    assert percent(-3.21) == "−3.2 %"
    assert with_sign(4.0) == "+4.00"
    assert with_sign(-4.0) == "−4.00"


def test_twenty_five_structures_look_different():
    assert len({look(n) for n in range(25)}) == 25


# --- balance and checks -----------------------------------------------------------------------------------------


def test_administered_times_decay_and_field_of_view(usual):
    balance = balance_of(usual)
    expected = 7000.0 * 2 ** (-usual.times_h / half_life_h("Lu-177"))
    np.testing.assert_allclose(balance.administered_mbq, expected, rtol=1e-9)
    np.testing.assert_allclose(balance.whole_mbq, [f.total_mbq for f in usual.frames])


def test_overlapping_structures_are_counted_once(usual):
    liver = usual.structures[0]
    twice = dataclasses.replace(usual, structures=(liver, dataclasses.replace(liver, name="liver again")))
    np.testing.assert_allclose(balance_of(twice).structures_mbq, liver.curve.activity_mbq, rtol=1e-6)
    apart = balance_of(usual).structures_mbq
    np.testing.assert_allclose(apart, sum(s.curve.activity_mbq for s in usual.structures), rtol=1e-6)


def states(results: PatientResults) -> dict[str, State]:
    return {light.topic: light.state for light in lights(gather_findings(results))}


def test_lights_of_a_sound_patient():
    """Four scans, the last past three effective half-lives of 64 h, a third of what was given in view."""
    assert set(states(patient((4.0, 24.0, 96.0, 240.0), administered_mbq=350.0)).values()) == {State.GOOD}


def test_three_scans_leave_a_tail_that_is_not_told(usual):
    found = states(usual)
    assert found.pop("Extrapolation") is State.LOOK  # 72 h against T_eff of 64 h: 46 % lies after it
    assert found.pop("Voxel curves") is State.BAD  # and how much it is, the points do not tell to 20 %
    assert found.pop("Activity balance") is State.LOOK  # under 2 % of what was given is in view
    assert set(found.values()) == {State.GOOD}


def test_more_activity_than_was_given_is_far_outside():
    assert states(patient(administered_mbq=20.0))["Activity balance"] is State.BAD


def test_a_registration_that_made_it_worse_is_far_outside():
    assert states(patient((4.0, 24.0), registered_shift_mm=-SHIFT_MM))["Registration"] is State.BAD
    some = states(patient((4.0, 24.0), registered_shift_mm=0.6 * SHIFT_MM))["Registration"]
    assert some is State.LOOK


def test_similarity_judges_where_no_structure_is_on_both_scans():
    assert states(patient(names={}))["Registration"] is State.GOOD
    assert states(patient(names={}, after=quality(lncc=0.1)))["Registration"] is State.BAD


def test_folding_and_lost_activity_are_seen():
    assert states(patient(after=quality(folding_percent=0.2)))["Field of displacement"] is State.LOOK
    assert states(patient(after=quality(folding_percent=3.0)))["Field of displacement"] is State.BAD
    assert states(patient(after=quality(activity_change_percent=-9.0)))["Field of displacement"] is State.LOOK


def test_an_early_last_scan_is_far_outside():
    assert states(patient((4.0, 24.0)))["Extrapolation"] is State.BAD
    assert states(patient((4.0, 24.0, 250.0)))["Extrapolation"] is State.GOOD


def test_without_structures_the_map_tells_what_was_extrapolated():
    one = patient((24.0,), names={})
    light = next(n for n in lights(gather_findings(one)) if n.topic == "Extrapolation")
    assert light.state is State.BAD
    assert percent(100.0 * 2 ** (-24.0 / half_life_h("Lu-177"))) in light.found  # e^(-λt) of it is after the scan


def test_one_scan_has_nothing_to_register():
    found = states(patient((24.0,)))
    assert found["Registration"] is State.UNKNOWN
    assert found["Voxel curves"] is State.LOOK


# --- the head ---------------------------------------------------------------------------------------------------


def test_the_head_says_what_is_known_and_settings_go_first(usual):
    details = Details(sex="M", weight_kg=80.0, cycle=3, site="A", operator="B")
    scanner = Scanner("Symbia", (12.0, 12.0, 12.0))
    study = dataclasses.replace(usual.study, details=details, dicom={"PatientSex": "F"}, scanner=scanner)
    settings = usual.settings.model_copy(update={"report": ReportSettings(operator="C")})
    told = dataclasses.replace(usual, study=study, settings=settings)
    facts = dict(head_facts(gather_findings(told), record().to_dict()))
    assert facts["Patient"] == "P001; male; 80.0 kg; cycle 3"
    assert (facts["Site"], facts["Operator"]) == ("A", "C")
    assert facts["Scanner"] == "Symbia"
    assert facts["Administered"] == "7.000 GBq, 2024-03-05 09:30"
    plain = dict(head_facts(gather_findings(usual), record().to_dict()))
    assert plain["Patient"] == "P001"
    assert not {"Site", "Operator", "Scanner"} & plain.keys()


def test_the_worst_light_stands_first(usual):
    found = gather_findings(usual)
    looks = {s.name: look(n) for n, s in enumerate(found.structures)}
    state, sentence = worst_light(front_rows(found, looks), lights(found))
    assert state is State.BAD
    assert sentence.startswith("tumour_1: Curve")


def test_beside_the_worst_light_stands_how_many_are_red():
    judged = [("tumour", "red"), ("tumour", "green"), ("organ", "amber"), ("organ", "grey"), ("derived", "red")]
    assert tally(judged) == "tumours: 1 of 2 red, 0 amber; organs: 1 of 3 red, 1 amber"
    assert tally([("organ", "green")]) == "organs: 0 of 1 red, 0 amber"
    assert tally([]) == ""


def test_doses_that_would_read_0_005_gy_are_in_mgy():
    assert gray(0.005, 0.001) == "5.0 ± 1.0 mGy"
    assert gray(0.0838, 0.024) == "0.084 ± 0.024"
    assert gray(0.0) == "0"
    assert gray(float("nan")) == "–"


# --- words ------------------------------------------------------------------------------------------------------


def test_what_was_done_about_recovery_is_said(usual):
    rows = {"liver": tuple(StructureRecovery("liver", f"tp{n}", 0.8, 0.05, "gtm", False, 0.1) for n in (1, 2, 3))}
    done = dataclasses.replace(usual, recovery=Recovery("gtm", False, (12.0, 12.0), rows, {}))
    assert "(Gaussian, 12.0 mm FWHM) were corrected by the geometric" in " ".join(
        recovery_sentences(gather_findings(done))
    )
    by_depth = dataclasses.replace(done, recovery=dataclasses.replace(done.recovery, fwhm_mm=(9.0, 12.0)))
    said = " ".join(recovery_sentences(gather_findings(by_depth)))
    assert "(Gaussians, 9.00 mm FWHM near the surface to 12.0 mm deep)" in said
    assert recovery_cell("liver", done.recovery) == "0.800 ± 0.040 corrected"
    assert recovery_fact(gather_findings(done)) == "spill-out and spill-in corrected"
    rows = {"liver": (StructureRecovery("liver", "tp1", 0.7, 0.1, "none", True, 0.1),)}
    told = dataclasses.replace(usual, recovery=Recovery("none", True, (12.0, 15.0), rows, {}))
    assert "assumed resolution of 12.0 to 15.0 mm" in " ".join(recovery_sentences(gather_findings(told)))
    assert recovery_cell("liver", told.recovery) == "0.700 ± 0.070 assumed, not corrected"
    assert recovery_cell("spleen", told.recovery) == ""
    looks = {found.name: look(n) for n, found in enumerate(told.structures)}
    front = {row.name: row.recovery for row in front_rows(gather_findings(told), looks)}
    assert front["liver"] == recovery_cell("liver", told.recovery)
    assert "no recovery coefficients" in " ".join(left_out(gather_findings(told)))
    assert "no recovery coefficients" not in " ".join(left_out(gather_findings(done)))


def test_what_is_not_in_the_number(usual):
    said = " ".join(left_out(gather_findings(usual)))
    assert "agree with Monte Carlo" in said
    assert "of the emitted energy leaves the field of view" in said
    assert "Progeny" not in said
    settings = DosimetrySettings.model_validate({"dose": {"engine": "local"}})
    locally = " ".join(left_out(gather_findings(dataclasses.replace(usual, settings=settings))))
    assert "0.0351 MeV per decay, 19 %" in locally  # ICRP 107: 0.0351 of 0.0351 + 0.148 MeV
    assert "0.148 MeV" in locally
    assert "1.00 g/mL" in " ".join(left_out(gather_findings(patient((24.0,), ct=False))))
    actinium = " ".join(left_out(gather_findings(patient((24.0,), nuclide="Ac-225"))))
    assert "Bi-213" in actinium
    assert "outlive Tc-99m are left out: Tc-99" in " ".join(
        left_out(gather_findings(patient((4.0,), nuclide="Tc-99m")))
    )


def test_methods_follow_what_was_done(usual):
    three_scans = methods_paragraph(gather_findings(usual), "nufitdose 1.2.3")
    assert "nufitdose 1.2.3" in three_scans
    assert "4.00, 24.0 and 72.0 h" in three_scans
    assert "rigid registration of CT to CT" in three_scans
    assert "least squares" in three_scans
    assert "Schneider" in three_scans
    two = methods_paragraph(gather_findings(patient((4.0, 24.0), ct=False)), "nufitdose")
    assert "activity to activity" in two
    assert "solved exactly" in two
    assert "1.00 g/mL" in two
    assert "physical decay through the one measurement" in methods_paragraph(
        gather_findings(patient((24.0,))), "nufitdose"
    )


# --- the page ---------------------------------------------------------------------------------------------------

HEADINGS = (
    "Dosimetry report", "Checks", "Volume viewer", "Registration", "Time-activity curves", "Activity balance",
    "Absorbed dose",
    "With and without registration", "Methods and record", "Files of this result",
)  # fmt: skip


def test_the_page_stands_alone_and_in_order(written):
    text = written.read_text(encoding="utf-8")
    page = Page(text)
    assert re.search(r"<style>[^<]*@page \{ size: A4", text)
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert "link" not in page.tags
    outside = [a for a in page.addresses if not a.startswith(("data:image/", "https://doi.org/10."))]
    links = [unquote(a) for a in outside if not a.startswith("#")]
    assert {"metrics.csv", "maps/dose.nii.gz", "registered/tp2_field.nii.gz"} <= {*links}
    assert all((written.parent / link).is_file() for link in links)
    assert all(f'id="{a[1:]}"' in text for a in outside if a.startswith("#"))
    places = [page.text.index(f"{n} · {h}" if n else h) for n, h in enumerate(HEADINGS)]
    assert places == sorted(places)
    for wanted in ("Not a medical device", "159.5 h", "ICRP", "7.000 GBq", "2024-03-05", "ab" * 32, "tumour"):
        assert wanted in page.text
    assert written.stat().st_size < 6e6


def test_numbers_of_the_table_are_those_of_the_results(usual, written):
    text = Page(written.read_text(encoding="utf-8")).text
    for s in usual.structures:
        assert three(s.dose["dose_d98_gy"]) in text
        assert three(s.unregistered["dose_d2_gy"]) in text
        assert three(s.dose["dose_mean_gy"] / 7.0) in text  # Gy/GBq
        assert three(s.mass_g) in text


def test_warnings_stand_in_full(usual, tmp_path):
    warnings = ("the scan 'tp2' is 3 % too long <b>", "a second one")
    text = page_of(dataclasses.replace(usual, warnings=warnings), tmp_path).text
    assert all(warning in text for warning in warnings)


def test_names_from_files_are_text_and_nothing_else(tmp_path):
    hostile = "<script>alert('x')</script> \"&$x^2$ 肝臓 \N{RIGHT-TO-LEFT OVERRIDE}"
    page = page_of(patient((4.0, 24.0), names=NAMES | {1: hostile}, patient_id=hostile), tmp_path)
    assert "<script>alert('x')</script>" in page.text
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert page_data(text, "viewer-data")["structures"][0]["name"] == hostile


@pytest.mark.parametrize(
    ("changes", "wanted", "unwanted"),
    [
        ({"times_h": (24.0,)}, "nothing to register", "after registration"),
        ({"times_h": (4.0, 24.0)}, "not to rely on", "no degrees of freedom"),
        ({"times_h": (4.0, 24.0, 72.0, 168.0), "ct": False}, "There is no CT", "Schneider 2000)."),
        ({"names": {}}, "No structures were given", "D98% Gy"),
        ({"names": {}, "ct": False, "times_h": (24.0,)}, "No structures were given", "Warnings of this run"),
        ({"scale": 1e-9, "administered_mbq": 1e-5}, "×10⁻", "nan"),
        ({"scale": 1e7, "administered_mbq": 1e11}, "×10", "nan"),
        ({"scale": 0.0}, "no measured activity", "nan"),
        ({"scale": 0.0, "ct": False, "names": {}}, "No structures were given", "nan"),
        ({"nuclide": "F-18", "times_h": (0.5, 1.0, 3.0)}, "109.8 min", "nan "),
        ({"names": {3: "tumour_1"}}, "D35mm³", "nan "),
    ],
)  # fmt: skip
def test_the_page_makes_sense_for(changes, wanted, unwanted, tmp_path):
    text = page_of(patient(**changes), tmp_path).text
    assert wanted in text
    assert unwanted not in text


def test_switched_off_registration_is_said(tmp_path):
    off = dataclasses.replace(patient((4.0, 24.0), engine="none"), unregistered=None)
    settings = DosimetrySettings(registration={"engine": "none"})
    text = page_of(dataclasses.replace(off, settings=settings), tmp_path).text
    assert "Registration was switched off" in text
    assert "They were not registered" in text


def test_many_structures_stay_a_small_page(usual, tmp_path):
    many = tuple(dataclasses.replace(usual.structures[n % 3], name=f"node {n}") for n in range(25))
    page = page_of(dataclasses.replace(usual, structures=many), tmp_path)
    assert page.text.count("node 24") >= 6
    assert (tmp_path / "report.html").stat().st_size < 6e6


def test_a_structure_cut_by_the_view_is_said(usual, tmp_path):
    liver = usual.structures[0]
    curve = dataclasses.replace(liver.curve, activity_mbq=np.array([100.0, np.nan, 50.0]))
    cut_off = dataclasses.replace(liver, curve=curve)
    results = dataclasses.replace(usual, structures=(cut_off, *usual.structures[1:]))
    assert "left out, cut by the field of view: tp2" in page_of(results, tmp_path).text
    assert states(results)["Structures in view"] is State.LOOK


def test_the_same_results_give_the_same_page_and_leave_matplotlib_alone(usual, written, tmp_path):
    with mpl.rc_context({"font.size": 23.0}):
        before = dict(mpl.rcParams)
        again = write_page(usual, DATED, tmp_path)
        assert dict(mpl.rcParams) == before
    assert again.read_bytes() == written.read_bytes()


def test_the_methods_take_their_words_from_the_engine(tmp_path):
    for name in ("affine", "nufit", "elastix-tuned"):
        words = ENGINES[name].says.format(bases="CT to CT")
        (tmp_path / name).mkdir()
        page = page_of(patient((4.0, 24.0), engine=name), tmp_path / name)
        assert f"brought onto the scan tp1 by {words};" in page.text


def with_rigid(results: PatientResults) -> PatientResults:
    """The same of an engine that bends: the rigid motion beside it, and a light."""
    light = PairLight(PairState.CHECK, "the mean Dice is low <here>")

    def bent(frame: Frame) -> Frame:
        if frame.registration is None:
            return frame
        rigid = RigidPart(np.eye(4), frame.activity.grid, quality(lncc=0.4))
        found = dataclasses.replace(frame.registration, engine="refine", rigid=rigid)
        return dataclasses.replace(frame, registration=found, light=light)

    return dataclasses.replace(results, frames=tuple(bent(frame) for frame in results.frames))


def test_the_rigid_motion_stands_between_before_and_after(tmp_path):
    results = with_rigid(patient())
    rows = {row.name: row.cells for row in quality_table(gather_findings(results)).rows}
    assert rows["local corr."] == ["0.200 → 0.400 → 0.500"] * 2
    assert {row.name: row.cells for row in quality_table(gather_findings(patient())).rows}["local corr."] == [
        "0.200 → 0.500"
    ] * 2
    assert pair_lights(gather_findings(results)) == [
        (name, "check", "the mean Dice is low <here>") for name in ("tp2", "tp3")
    ]
    stages = _stages(results.frames[1].registration, lambda field: lambda axes, points: None)
    assert [name for name, _ in stages] == ["before", "rigid", "after"]
    page = write_page(results, record(), tmp_path).read_text()
    assert "the mean Dice is low &lt;here&gt;" in page
