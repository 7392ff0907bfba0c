"""Two studies of one patient: another tracer on this one's reference, with errors known from the digital patient."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.small_study import small_study

from nufitdose.errors import InputError
from nufitdose.io.field_file import load_field
from nufitdose.io.nifti import load_volume
from nufitdose.io.study_folder import save_study
from nufitdose.phantom import PatientSettings, simulate_patient
from nufitdose.registration import DisplacementField
from nufitdose.registration.command import run_registration
from nufitdose.registration.quality import target_registration_error_mm
from nufitdose.registration.settings import RegistrationSettings


def settings(engine, **how):
    return RegistrationSettings(engine=engine, **how)


def saved(study, folder):
    folder.mkdir()
    save_study(study, folder)
    return folder


@pytest.fixture
def here(tmp_path):
    return saved(small_study((4.0, 24.0)), tmp_path / "here")


def test_every_scan_of_the_other_study_is_brought_and_told_of(here, tmp_path):
    other = saved(replace(small_study((1.0, 2.0)), nuclide="Ga-68"), tmp_path / "other")
    frames = run_registration(here, tmp_path / "out", settings("none"), other=other)
    assert [frame.id for frame in frames] == ["tp1", "tp2"]
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert found == {
        "run.json", "quality.json", "registration.csv", "registration_structures.csv",
        "registration_activity.csv",
        *(f"registered/{name}_u_registration_mm.nii.gz" for name in ("tp1", "tp2")),
        *(f"registered/{name}_{kind}.nii.gz" for name in ("tp1", "tp2") for kind in ("activity", "ct", "field")),
    }  # fmt: skip
    told = json.loads((tmp_path / "out/quality.json").read_text())
    assert (told["fixed"]["nuclide"], told["moving"]["nuclide"]) == ("Lu-177", "Ga-68")
    assert told["similarity_activity"] == "mind"  # two nuclides
    assert told["scans"]["tp1"]["before"] == told["scans"]["tp1"]["after"]
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["config"]["registration"]["similarity_activity"] == "mind"
    assert {item["path"] for item in record["inputs"]} > {"here/study.yaml", "other/study.yaml"}


def test_another_cycle_is_compared_as_one_tracer_and_another_name_is_warned_of(here, tmp_path, caplog):
    other = saved(replace(small_study((3.0,)), patient="P8"), tmp_path / "other")
    run_registration(here, tmp_path / "out", settings("none"), other=other)
    assert json.loads((tmp_path / "out/quality.json").read_text())["similarity_activity"] == "lncc"
    assert "'P7' and 'P8'" in caplog.text
    assert caplog.messages[0] in json.loads((tmp_path / "out/run.json").read_text())["warnings"]
    run_registration(here, tmp_path / "out", settings("none", similarity_activity="ngf"), other=other)
    assert json.loads((tmp_path / "out/quality.json").read_text())["similarity_activity"] == "ngf"


def test_neither_study_is_written_into(here, tmp_path):
    other = saved(small_study((3.0,)), tmp_path / "other")
    for folder in (here, other):
        with pytest.raises(InputError, match="inside the input"):
            run_registration(here, folder / "out", settings("none"), other=other)


@pytest.fixture(scope="module")
def two_tracers(tmp_path_factory):
    """FDG at rest and, after breathing and posture have changed, PSMA of the same body and tumours."""
    place = tmp_path_factory.mktemp("tracers")
    how = {"shape": (60, 44, 30), "spacing_mm": 6.0, "ct_spacing_mm": 4.0, "seed": 3, "centre_z_mm": 40.0}
    tumours = {"tumours": 2, "tumour_sites": ("liver", "bone")}
    fdg = simulate_patient(PatientSettings(tracer="F-18-FDG", times_h=[1.0], **how, **tumours))
    psma = simulate_patient(PatientSettings(tracer="Ga-68-PSMA", times_h=[0.9, 1.0], **how, **tumours))
    moved = replace(psma.study, timepoints=psma.study.timepoints[1:], reference_id="tp2")
    marks = [mark for mark in psma.truth.landmarks if mark.timepoint == "tp2"]
    fixed_mm, moving_mm = (np.array([getattr(mark, name) for mark in marks]) for name in ("fixed_mm", "moving_mm"))
    seen = [fdg.study.reference.activity.grid.contains(fixed_mm), moved.reference.activity.grid.contains(moving_mm)]
    seen = np.logical_and(*seen)
    return saved(fdg.study, place / "fdg"), saved(moved, place / "psma"), fixed_mm[seen], moving_mm[seen]


@pytest.mark.slow
def test_two_tracers_meet_and_deformation_beats_the_rigid_pose(two_tracers, tmp_path):
    fdg, psma, fixed_mm, moving_mm = two_tracers
    error_mm, after = {}, {}
    for engine in ("none", "rigid", "nufit"):
        run_registration(fdg, tmp_path / engine, settings(engine), other=psma)
        field = DisplacementField(*load_field(tmp_path / engine / "registered/tp2_field.nii.gz"))
        error_mm[engine] = float(target_registration_error_mm(field, fixed_mm, moving_mm).mean())
        told = json.loads((tmp_path / engine / "quality.json").read_text())
        assert told["similarity_activity"] == "mind"
        after[engine] = told["scans"]["tp2"]["after"]
    assert error_mm["nufit"] < 0.6 * error_mm["rigid"] < 0.6 * error_mm["none"]
    assert after["nufit"]["mi"] > after["rigid"]["mi"] > after["none"]["mi"]
    assert after["nufit"]["ndv_percent"] < 0.01
    brought = load_volume(tmp_path / "nufit/registered/tp2_activity.nii.gz", "Bq/mL")
    assert brought.grid.shape == (60, 44, 30)
