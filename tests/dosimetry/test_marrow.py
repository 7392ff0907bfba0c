"""Red marrow against closed forms: blood that clears in two phases, a vertebra of uniform activity."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from support.small_study import small_study

from dosimetry import run_patient
from dosimetry.config import DosimetrySettings, RedMarrowSettings
from dosimetry.marrow import BLOOD, IMAGE, fit_blood, read_blood, red_marrow
from dosimetry.metrics.marrow import blood_ratio, marrow_from_image
from nufitdose.errors import InputError
from nufitdose.nuclides import chain_emissions

FAST, SLOW = math.log(2) / 2.0, math.log(2) / 40.0  # 1/h
TIMES_H = np.array([0.5, 1.0, 2.0, 4.0, 8.0, 24.0, 48.0, 96.0])
BLOOD_TIA = (5e3 / FAST + 800.0 / SLOW) * 1e-6  # MBq·h/mL


@pytest.fixture
def samples(tmp_path):
    values = 5e3 * np.exp(-FAST * TIMES_H) + 800.0 * np.exp(-SLOW * TIMES_H)
    path = tmp_path / "blood.csv"
    lines = [f"{t},{v},{0.05 * v}" for t, v in zip(TIMES_H[::-1], values[::-1], strict=True)]
    path.write_text("\n".join(["time_h,bq_per_ml,u_bq_per_ml", *lines]), encoding="utf-8")
    return path


def test_the_ratio_of_sgouros():
    assert blood_ratio(0.47) == pytest.approx(0.358, abs=5e-4)  # 0.36 for the usual haematocrit
    with pytest.raises(ValueError, match="between 0 and 1"):
        blood_ratio(42.0)


def test_blood_gives_the_integral_of_its_two_phases_times_the_ratio(samples):
    asked = RedMarrowSettings(blood=str(samples), hematocrit=0.42, u_blood_ratio_percent=10.0, mass_g=1170.0)
    (found,) = red_marrow(asked, (), "Lu-177", "kernel")
    assert found.method == BLOOD
    concentration = BLOOD_TIA * 0.19 / 0.58
    assert found.tia_mbq_h_per_ml == pytest.approx(concentration, rel=1e-4)
    assert found.tia_mbq_h == pytest.approx(concentration * 1170.0 / 1.03, rel=1e-4)
    local = chain_emissions("Lu-177").local_gy_g_per_mbq_h
    assert found.dose_self_gy == pytest.approx(concentration / 1.03 * local, rel=1e-4)
    assert found.teff_h == pytest.approx(40.0, rel=1e-3)
    fit = fit_blood(read_blood(samples), 159.53)
    wanted = math.hypot(fit.u_tia_mbq_h / fit.tia_mbq_h, 0.1)
    assert 0.0 < fit.u_tia_mbq_h / fit.tia_mbq_h < 0.1
    assert found.u_tia_mbq_h_per_ml / found.tia_mbq_h_per_ml == pytest.approx(wanted, rel=1e-6)
    assert found.u_dose_self_gy / found.dose_self_gy == pytest.approx(wanted, rel=1e-6)


def test_a_given_ratio_takes_the_place_of_the_haematocrit(samples):
    (found,) = red_marrow(RedMarrowSettings(blood=str(samples), blood_ratio=1.0), (), "Lu-177", "kernel")
    assert found.tia_mbq_h_per_ml == pytest.approx(BLOOD_TIA, rel=1e-4)
    assert math.isnan(found.tia_mbq_h)


def test_a_vertebra_holds_its_activity_in_its_red_marrow_alone():
    found = marrow_from_image(90.0, 30.0, 0.06, 0.5, 0.08)
    assert found.tia_mbq_h_per_ml == pytest.approx(6.0)
    assert found.relative_u == pytest.approx(0.1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        marrow_from_image(90.0, 30.0, 0.06, 1.2, 0.1)


def test_both_methods_stand_in_a_table_of_their_own(samples, tmp_path):
    marrow = {
        "structure": "liver",  # in the place of a vertebra: its activity is uniform
        "marrow_volume_fraction": 0.8,
        "cellularity": 0.7,
        "blood": str(samples),
        "blood_ratio": 1.0,
    }
    settings = {
        "registration": {"engine": "none"},
        "kinetics": {"model": "mono"},
        "dose": {"engine": "local"},
        "metrics": {"red_marrow": marrow},
    }
    results = run_patient(small_study(), tmp_path / "out", DosimetrySettings.model_validate(settings))
    with (tmp_path / "out/red_marrow.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == [IMAGE, BLOOD]
    tia = 2e5 * 60.0 / math.log(2) * 1e-6  # MBq·h/mL of the small study
    assert float(rows[IMAGE]["tia_mbq_h_per_ml"]) == pytest.approx(tia / 0.56, rel=1e-3)
    budget = results.structures[0].budget.relative_u_dose
    relative = float(rows[IMAGE]["u_tia_mbq_h_per_ml"]) / float(rows[IMAGE]["tia_mbq_h_per_ml"])
    assert relative == pytest.approx(math.hypot(budget, 0.2), rel=1e-4)
    assert "liver" in rows[IMAGE]["basis"]
    assert "blood.csv" in (tmp_path / "out/run.json").read_text(encoding="utf-8")


def test_photons_are_what_the_vertebra_gets_beside_its_own_electrons(samples, tmp_path):
    """A vertebra whose dose is a quarter above that of its electrons: both methods get that quarter on top."""
    marrow = {"structure": "liver", "marrow_volume_fraction": 0.8, "cellularity": 0.7, "blood": str(samples)}
    asked = RedMarrowSettings.model_validate({**marrow, "blood_ratio": 1.0})
    settings = {
        "registration": {"engine": "none"},
        "kinetics": {"model": "mono"},
        "dose": {"engine": "local"},
        "metrics": {"red_marrow": asked.model_dump()},
    }
    results = run_patient(small_study(), tmp_path / "out", DosimetrySettings.model_validate(settings))
    assert all(math.isnan(found.dose_cross_gy) and math.isnan(found.dose_total_gy) for found in results.red_marrow)
    (spine,) = results.structures
    electrons_gy = spine.tia_mbq_h * chain_emissions("Lu-177").local_gy_g_per_mbq_h / spine.mass_g
    assert spine.dose["dose_mean_gy"] == pytest.approx(electrons_gy, rel=1e-3)  # the engine that follows no photons
    lit = replace(spine, dose={**spine.dose, "dose_mean_gy": 1.25 * electrons_gy})
    for found in red_marrow(asked, (lit,), "Lu-177", "kernel"):
        assert found.dose_cross_gy == pytest.approx(0.25 * electrons_gy, rel=1e-6)
        assert found.dose_total_gy == pytest.approx(found.dose_self_gy + found.dose_cross_gy)
        u_cross = spine.budget.relative_u_dose * 1.25 * electrons_gy
        assert found.u_dose_total_gy == pytest.approx(math.hypot(found.u_dose_self_gy, u_cross))
        assert "photons as liver gets them" in found.basis


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hours,bq_per_ml\n1,2\n", "time_h is missing"),
        ("time_h,bq_per_ml\n1,2\n2,1\n", "2 blood samples"),
        ("time_h,bq_per_ml\n1,2\n2,x\n3,1\n", "line 3 has 'x'"),
        ("time_h,bq_per_ml\n1,2\n1,2\n3,1\n", "of one time"),
        ("time_h,bq_per_ml\n1,2\n2,-2\n3,1\n", "line 3 has '-2'"),
        ("time_h,bq_per_ml,u_bq_per_ml\n1,2,0\n2,2,1\n3,1,1\n", "not above 0"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(tmp_path, text, says):
    path = tmp_path / "blood.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_blood(path)


def test_a_table_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_blood(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "needs 'structure'"),
        ({"structure": "l3", "cellularity": 0.7}, "none is assumed"),
        ({"blood": "b.csv"}, "none is assumed"),
        ({"blood": "b.csv", "hematocrit": 0.4, "blood_ratio": 1.0}, "either hematocrit or blood_ratio"),
    ],
)
def test_no_physical_quantity_is_assumed(asked, says):
    with pytest.raises(ValidationError, match=says):
        RedMarrowSettings(**asked)
