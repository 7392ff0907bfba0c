"""BED through the patient run: its table, its map, and what is refused or left empty."""

import csv
import math
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from support.small_study import GRID, small_study, sphere

from dosimetry import run_patient
from dosimetry.biological import alpha_share, biological_maps
from dosimetry.config import load_settings
from nufitdose.errors import InputError
from nufitdose.study import Structures, Study, TimePoint
from nufitdose.volume import Quantity, Volume

AS_LAID = ("registration.engine=none", "kinetics.model=mono", "dose.engine=local")


def metrics(out):
    with (out / "metrics.csv").open() as file:
        return {row["structure"]: row for row in csv.DictReader(file)}


def image(path):
    return nib.load(path).get_fdata()  # NaN, where nothing is known, is no input of this program


def with_tumour(study: Study, nuclide: str = "Lu-177") -> Study:
    """The sphere of the small study as a tumour within a spleen, which has no parameters in the table."""
    labels = [Volume(sphere(r).astype(np.uint8), GRID, Quantity.LABELS) for r in (18.0, 26.0)]
    drawn = Structures(
        (labels[0], replace(labels[1], data=2 * labels[1].data)), {1: "lesion", 2: "spleen"}, frozenset({"lesion"})
    )
    first, *others = study.timepoints
    points = (TimePoint.of(first.id, first.time_h, first.activity, first.ct, drawn), *others)
    return Study("P", nuclide, study.administration, "tp1", points)


def test_a_sphere_of_one_half_life_gets_the_bed_of_its_exponential_in_table_map_and_report(tmp_path):
    wanted = load_settings(None, [*AS_LAID, "metrics.radiobiology.eqd2_map=true", "metrics.geud_a={liver: 1.0}"])
    results = run_patient(small_study(teff_h=60.0), tmp_path / "out", wanted)
    row = metrics(tmp_path / "out")["liver"]
    dose = float(row["dose_mean_gy"])
    effective = dose * (1 + dose / 2.5 * 2.5 / (2.5 + 60.0))  # uniform, α/β 2.5 Gy, T_rep 2.5 h
    assert (float(row["alpha_beta_gy"]), float(row["t_rep_h"])) == (2.5, 2.5)
    assert float(row["protraction"]) == pytest.approx(2.5 / 62.5, rel=1e-3)
    assert float(row["bed_mean_gy"]) == pytest.approx(effective, rel=1e-3)
    assert float(row["eqd2_mean_gy"]) == pytest.approx(effective / (1 + 2 / 2.5), rel=1e-3)
    assert float(row["u_bed_mean_gy"]) / effective > float(row["u_dose_mean_gy"]) / dose  # BED rises faster than dose
    assert float(row["geud_gy"]) == pytest.approx(dose, rel=1e-3)
    assert row["eubed_gy"] == row["dose_rbe_mean_gy"] == row["rbe_alpha"] == ""
    assert metrics(tmp_path / "out")["whole_body"]["bed_mean_gy"] == ""
    bed, eqd2 = (image(tmp_path / f"out/maps/{name}.nii.gz") for name in ("bed", "eqd2"))
    assert bed[sphere()].mean() == pytest.approx(float(row["bed_mean_gy"]), rel=1e-5)
    assert eqd2[sphere()].mean() == pytest.approx(float(row["eqd2_mean_gy"]), rel=1e-5)
    assert np.isnan(bed[~sphere()]).all()
    text = (tmp_path / "out/report.html").read_text()
    assert "Biologically effective dose" in text
    assert "3Dosim" in text
    assert results.structures[0].biological is not None


def test_what_has_no_parameters_has_no_bed_and_tumours_come_before_organs(tmp_path):
    study = with_tumour(small_study())
    results = run_patient(study, tmp_path / "out", load_settings(None, AS_LAID))
    rows = metrics(tmp_path / "out")
    assert rows["spleen"]["bed_mean_gy"] == ""
    assert float(rows["lesion"]["alpha_beta_gy"]) == 10.0
    assert "No BED of spleen" in (tmp_path / "out/report.html").read_text()
    assert not (tmp_path / "out/maps/eqd2.nii.gz").exists()
    known = biological_maps(results.maps.dose, results.structures)["bed"].data
    np.testing.assert_array_equal(np.isfinite(known), sphere(18.0))
    spleen = "metrics.radiobiology.tissues={spleen: {alpha_beta_gy: 3.0, t_rep_h: 1.0, alpha_per_gy: 0.1}}"
    run_patient(study, tmp_path / "given", load_settings(None, [*AS_LAID, spleen]))
    row = metrics(tmp_path / "given")["spleen"]
    assert 0 < float(row["eubed_gy"]) < float(row["bed_mean_gy"])
    both = image(tmp_path / "given/maps/bed.nii.gz")
    np.testing.assert_array_equal(np.isfinite(both), sphere(26.0))
    np.testing.assert_allclose(both[sphere(18.0)], known[sphere(18.0)], rtol=1e-5)


def test_the_burden_of_all_tumours_counts_their_common_voxels_once(tmp_path):
    one = with_tumour(small_study())
    drawn = one.reference.structures
    first, *others = one.timepoints
    both = TimePoint.of(
        first.id, first.time_h, first.activity, first.ct, replace(drawn, tumours=frozenset(drawn.names.values()))
    )
    study = replace(one, timepoints=(both, *others))
    run_patient(study, tmp_path / "out", load_settings(None, AS_LAID))
    rows = metrics(tmp_path / "out")
    lesion, around, burden = (rows[name] for name in ("lesion", "spleen", "all_tumours"))
    assert burden["role"] == "tumour_burden"
    for column in ("volume_ml", "mass_g", "tia_mbq_h", "dose_mean_gy", "dose_d2_gy", "dose_d98_gy"):
        assert float(burden[column]) == pytest.approx(float(around[column]), rel=1e-5)  # which holds the lesion
    masses = np.array([float(row["mass_g"]) for row in (lesion, around)])
    beds = [float(row["bed_mean_gy"]) for row in (lesion, around)]
    assert float(burden["bed_mean_gy"]) == pytest.approx(masses @ beds / masses.sum(), rel=1e-5)
    errors = sorted(float(row["u_dose_mean_gy"]) / float(row["dose_mean_gy"]) for row in (lesion, around))
    assert errors[0] < float(burden["u_dose_mean_gy"]) / float(burden["dose_mean_gy"]) < errors[1]
    assert burden["teff_h"] == burden["model"] == ""
    assert "all_tumours" in (tmp_path / "out/report.html").read_text()
    run_patient(one, tmp_path / "one", load_settings(None, AS_LAID))
    assert "all_tumours" not in metrics(tmp_path / "one")


def test_alpha_particles_are_weighted_only_when_asked_and_beside_the_physical_dose(tmp_path):
    study = with_tumour(small_study(), "Ac-225")
    plain = run_patient(study, tmp_path / "plain", load_settings(None, AS_LAID))
    assert any("alpha particles" in warning for warning in plain.warnings)
    assert metrics(tmp_path / "plain")["lesion"]["bed_mean_gy"] == ""
    assert not (tmp_path / "plain/maps/bed.nii.gz").exists()
    run_patient(study, tmp_path / "rbe", load_settings(None, [*AS_LAID, "metrics.radiobiology.rbe_alpha=5"]))
    before, after = metrics(tmp_path / "plain")["lesion"], metrics(tmp_path / "rbe")["lesion"]
    assert after["dose_mean_gy"] == before["dose_mean_gy"]  # physical, whatever is weighted
    share = alpha_share("Ac-225")
    assert 0.9 < share < 1.0
    assert float(after["dose_rbe_mean_gy"]) == pytest.approx(float(after["dose_mean_gy"]) * (1 + 4 * share), rel=1e-5)
    assert float(after["bed_mean_gy"]) > float(after["dose_rbe_mean_gy"])
    assert alpha_share("Lu-177") == 0.0


def test_a_curve_that_is_no_sum_of_exponentials_has_no_bed(tmp_path):
    settings = load_settings(None, [*AS_LAID, "kinetics.model=trapezoid"])
    run_patient(small_study(), tmp_path / "out", settings)
    assert metrics(tmp_path / "out")["liver"]["bed_mean_gy"] == ""
    assert "no sum of exponentials" in (tmp_path / "out/report.html").read_text()


def test_an_average_over_models_has_an_error_of_its_protraction(tmp_path):
    results = run_patient(small_study(), tmp_path / "out", load_settings(None, [*AS_LAID, "kinetics.model=bayes"]))
    effect = results.structures[0].biological.effect
    assert effect.protraction == pytest.approx(2.5 / 62.5, rel=0.3)
    assert 0 < effect.u_protraction < effect.protraction
    assert math.isfinite(results.structures[0].biological.u_bed_mean_gy)


@pytest.mark.parametrize(
    "setting", ["metrics.radiobiology.tissues={lever: {alpha_beta_gy: 3.0}}", "metrics.geud_a={lever: 2.0}"]
)
def test_a_structure_that_is_not_there_is_named(tmp_path, setting):
    with pytest.raises(InputError, match="lever"):
        run_patient(small_study(), tmp_path / "out", load_settings(None, [*AS_LAID, setting]))


@pytest.mark.parametrize("setting", ["metrics.geud_a={liver: 0.0}", "metrics.radiobiology.rbe_alpha=0.5"])
def test_numbers_that_mean_nothing_are_refused(setting):
    with pytest.raises(InputError, match="metrics"):
        load_settings(None, [setting])
