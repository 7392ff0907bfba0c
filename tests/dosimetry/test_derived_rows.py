"""Derived structures and isodoses through the whole run, in a patient whose dose is known on paper."""

import csv
import math

import numpy as np
import pytest
from support.small_study import GRID, small_study, sphere

from dosimetry import run_patient
from dosimetry.config import DosimetrySettings
from nufitdose.errors import InputError

CENTRE = tuple(float(x) for x in GRID.centre_mm)
DERIVED = {
    "liver_again": {"of": ["liver"]},
    "middle": {"at_mm": CENTRE, "radius_mm": 12.0},
    "around": {"of": ["liver"], "shell_mm": [0.0, 6.0]},
    "nothing": {"of": ["liver"], "margin_mm": -40.0},
}


def settings(derived, **metrics):
    return DosimetrySettings.model_validate(
        {
            "registration": {"engine": "none"},
            "kinetics": {"model": "mono"},
            "dose": {"engine": "local"},
            "metrics": {"derived": derived, **metrics},
        }
    )


def rows(path, key="structure"):
    with path.open() as file:
        return {row[key]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    place = tmp_path_factory.mktemp("run") / "out"
    run_patient(small_study(), place, settings(DERIVED, isodose_gy=[1.0], isodose_percent=[50.0, 100.0]))
    return place


def test_a_derived_structure_has_the_numbers_of_its_voxels(out):
    found = rows(out / "metrics.csv")
    assert "nothing" not in found
    liver, again, middle, around = (found[name] for name in ("liver", "liver_again", "middle", "around"))
    assert {again["role"], middle["role"], around["role"]} == {"derived"}
    for column in ("volume_ml", "mass_g", "tia_mbq_h", "tiac_h", "dose_mean_gy", "dose_d98_gy", "dose_mean_gy_per_gbq"):
        assert float(again[column]) == pytest.approx(float(liver[column]), rel=1e-6)
    assert float(middle["volume_ml"]) == pytest.approx(4 / 3 * math.pi * 1.2**3, rel=0.01)
    concentration = float(liver["tia_mbq_h"]) / float(liver["volume_ml"])  # uniform within the sphere
    assert float(middle["tia_mbq_h"]) == pytest.approx(concentration * float(middle["volume_ml"]), rel=1e-5)
    assert float(middle["dose_mean_gy"]) == pytest.approx(float(liver["dose_mean_gy"]), rel=1e-5)
    assert float(around["dose_mean_gy"]) == 0.0
    assert float(around["volume_ml"]) > 5.0
    assert middle["teff_h"] == ""


def test_a_derived_structure_answers_as_the_tissue_its_voxels_are_of(out):
    """Uniform liver, α/β and T_rep 2.5: BED as of the liver; what lies around it has none until its tissue is given."""
    found = rows(out / "metrics.csv")
    liver, again, middle = (found[name] for name in ("liver", "liver_again", "middle"))
    for column in ("bed_mean_gy", "eqd2_mean_gy", "alpha_beta_gy", "t_rep_h", "protraction"):
        for row in (again, middle):
            assert float(row[column]) == pytest.approx(float(liver[column]), rel=1e-5), column
    relative = [float(row["u_bed_mean_gy"]) / float(row["bed_mean_gy"]) for row in (again, middle)]
    assert all(part > float(again["u_dose_mean_gy"]) / float(again["dose_mean_gy"]) for part in relative)
    assert found["around"]["bed_mean_gy"] == found["around"]["alpha_beta_gy"] == ""


def test_the_tissue_of_a_derived_structure_can_be_given(tmp_path):
    tissue = {"tissues": {"middle": {"alpha_beta_gy": 5.0, "t_rep_h": 4.0, "alpha_per_gy": 0.1}}}
    run_patient(small_study(), tmp_path / "out", settings({"middle": DERIVED["middle"]}, radiobiology=tissue))
    row = rows(tmp_path / "out/metrics.csv")["middle"]
    dose_gy, g = float(row["dose_mean_gy"]), 4.0 / (4.0 + 60.0)  # of a half-life of 60 h
    assert float(row["protraction"]) == pytest.approx(g, rel=1e-3)
    assert float(row["bed_mean_gy"]) == pytest.approx(dose_gy + g * dose_gy**2 / 5.0, rel=1e-3)
    assert float(row["eqd2_mean_gy"]) == pytest.approx(float(row["bed_mean_gy"]) / 1.4, rel=1e-5)
    assert float(row["eubed_gy"]) == pytest.approx(float(row["bed_mean_gy"]), rel=1e-4)


def test_isodoses_of_a_uniform_sphere_enclose_it(out):
    with (out / "isodoses.csv").open() as file:
        found = {(row["structure"], row["isodose"]): row for row in csv.DictReader(file)}
    volume_ml = sphere().sum() * GRID.voxel_volume_ml
    dose_gy = float(rows(out / "metrics.csv")["liver"]["dose_mean_gy"])
    for structure in ("liver", "whole_body"):
        half, top = found[structure, "50 %"], found[structure, "100 %"]
        assert float(half["dose_gy"]) == pytest.approx(0.5 * dose_gy, rel=1e-3)
        assert float(half["volume_ml"]) == pytest.approx(volume_ml, rel=1e-6)
        assert float(top["dose_gy"]) == pytest.approx(dose_gy, rel=1e-3)
        assert float(found[structure, "1 Gy"]["volume_ml"]) == (pytest.approx(volume_ml) if dose_gy >= 1 else 0.0)
    assert float(found["liver", "50 %"]["volume_percent"]) == pytest.approx(100.0)
    assert float(found["around", "50 %"]["volume_ml"]) == 0.0
    body_ml = sphere(60.0).sum() * GRID.voxel_volume_ml
    assert float(found["whole_body", "50 %"]["volume_percent"]) == pytest.approx(100 * volume_ml / body_ml, rel=0.02)


def test_the_differential_histogram_holds_the_volume(out):
    with (out / "dvh.csv").open() as file:
        found = [row for row in csv.DictReader(file) if row["structure"] == "middle"]
    dose = np.array([float(row["dose_gy"]) for row in found])
    held = np.array([float(row["volume_ml_per_gy"]) for row in found[:-1]])
    assert found[-1]["volume_ml_per_gy"] == ""
    # all of it lies in the last interval, whose ends the table rounds to six digits
    assert held @ np.diff(dose) == pytest.approx(float(rows(out / "metrics.csv")["middle"]["volume_ml"]), rel=2e-3)


def test_half_a_tissue_is_refused(tmp_path):
    tissue = {"tissues": {"middle": {"alpha_beta_gy": 5.0}}}
    with pytest.raises(InputError, match="middle gives only one of"):
        run_patient(small_study(), tmp_path / "out", settings({"middle": DERIVED["middle"]}, radiobiology=tissue))


@pytest.mark.parametrize(
    ("derived", "says"),
    [
        ({"liver": {"at_mm": CENTRE, "radius_mm": 5.0}}, "a name that the results have already"),
        ({"whole_body": {"of": ["liver"]}}, "a name that the results have already"),
        ({"healthy": {"of": ["liver"], "without": ["spleen"]}}, "healthy is made of spleen"),
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path, derived, says):
    with pytest.raises(InputError, match=says):
        run_patient(small_study(), tmp_path / "out", settings(derived))
