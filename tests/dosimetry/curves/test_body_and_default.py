"""What the default does with so many scans, and that voxels, structures and the remainder add up to the body."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from support.small_study import GRID, small_study, sphere

from dosimetry import run_patient
from dosimetry.config import KineticsSettings, load_settings
from dosimetry.curves.fits import organ_by_average, organ_by_number_of_points
from dosimetry.curves.points import OrganPoints
from dosimetry.curves.structures import StructureCurve, structure_curves
from dosimetry.curves.voxels import fit_frames
from dosimetry.kinetics import AveragedCurve, FitStatus, ModelChoice, fit_organ
from dosimetry.kinetics.priors import tracer_in
from dosimetry.metrics import Region
from dosimetry.output.source_regions import source_region
from dosimetry.structures import regions_of
from nufitdose import kinetics
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.study_folder import load_study, save_study
from nufitdose.nuclides import half_life_h
from nufitdose.registration.series import Frame, overlay_series
from nufitdose.study import Structures, Study, TimePoint
from nufitdose.volume import Quantity, Volume

LU_H, LN2 = half_life_h("Lu-177"), np.log(2.0)
CURVES = {  # amplitudes, half-lives in h
    "mono": ((100.0,), (55.0,)),
    "f3": ((100.0, -100.0), (55.0, 6.0)),
    "f3a": ((70.0, 30.0), (12.0, LU_H)),
    "bi": ((50.0, 50.0), (12.0, 70.0)),
}
HOURS = (4.0, 24.0, 72.0, 168.0)


def terms(name):
    amplitudes, half_lives = CURVES[name]
    return np.array(amplitudes), LN2 / np.array(half_lives)


def points(name, times_h, noise=0.0, seed=0):
    t = np.array(times_h)
    y = kinetics.value(*terms(name), t) * (1.0 + noise * np.random.default_rng(seed).normal(size=t.size))
    return OrganPoints(t, y, LU_H, 0.02 * np.abs(y))


# The number of scans


def test_one_scan_is_physical_decay_two_to_four_are_averaged():
    one = organ_by_number_of_points(points("mono", (24.0,)))
    assert one.status is FitStatus.ONE_POINT
    for times_h in ((24.0, 96.0), HOURS[:3], HOURS):
        assert isinstance(organ_by_number_of_points(points("f3", times_h)), AveragedCurve)
    cut = points("f3", HOURS)
    cut = replace(cut, activity_mbq=np.array([np.nan, np.nan, *cut.activity_mbq[2:]]))
    assert isinstance(organ_by_number_of_points(cut), AveragedCurve)


@pytest.mark.parametrize("count", [5, 6, 8])
@pytest.mark.parametrize("name", ["f3", "mono"])
def test_from_five_scans_on_aicc_chooses_and_the_marginal_likelihood_agrees(name, count):
    times_h = (
        (1.0, 4.0, 12.0, 24.0, 48.0, 72.0, 120.0, 168.0)[-count:]
        if name == "mono"
        else ((1.0, 4.0, 24.0, 72.0, 168.0, 48.0, 12.0, 120.0)[:count])
    )
    truth = float(kinetics.integral(*terms(name)))
    for seed in range(3):
        given = points(name, times_h, 0.01, seed)  # u says 2 %: χ² rejects none
        found, average = organ_by_number_of_points(given), organ_by_average(given)
        assert isinstance(found, ModelChoice)
        assert found.best == average.best == name
        assert found.fit.tia_mbq_h == pytest.approx(average.tia_mbq_h, rel=0.03)
        assert found.fit.tia_mbq_h == pytest.approx(truth, rel=0.06)


def test_where_aicc_cannot_compare_two_phases_the_average_stands_and_says_so():
    """Five points: bi has no AICc (N >= K + 2), the choice among the others is off by more than the average."""
    given = points("bi", (1.0, 4.0, 24.0, 72.0, 168.0), 0.02)
    found, truth = organ_by_number_of_points(given), float(kinetics.integral(*terms("bi")))
    assert isinstance(found, AveragedCurve)
    assert found.tia_mbq_h == pytest.approx(truth, rel=0.05)
    assert any(flag.startswith("averaged over models: AICc takes") for flag in found.flags)


# Sums of voxels


def noisy_body(inside, noise, shape=(50, 20, 40), seed=0):
    """A structure in half of a box and a remainder of two phases in the other; normal noise, negative values kept."""
    grid, rng = Grid.from_spacing(shape, (4.0, 4.0, 4.0)), np.random.default_rng(seed)
    held = np.zeros(shape, bool)
    held[..., : shape[2] // 2] = True
    frames = []
    for time_h in HOURS:
        clean = np.where(held, *(kinetics.value(*terms(name), np.array([time_h]))[0] for name in (inside, "bi")))
        activity = (clean * (1.0 + noise * rng.normal(size=shape))).astype(np.float32)
        frames.append(Frame(f"{time_h} h", time_h, Volume(activity, grid, Quantity.ACTIVITY), 1.0))
    index = np.flatnonzero(held)
    return frames, {"organ": Region(index, np.full(index.size, grid.voxel_volume_ml), 0.0)}


def sums_over_truth(inside, noise, **how):
    """Σ of voxel integrals over the truth, of the structure and of the rest, and over their curves before scaling."""
    frames, regions = noisy_body(inside, noise, **how)
    settings = KineticsSettings(u_activity_percent=2.0)
    curves = structure_curves(frames, regions, settings, LU_H)
    fitted = fit_frames(frames, LU_H, settings, regions, curves)
    tia, index = fitted.fit.tia.astype(float), regions["organ"].index
    rest = np.setdiff1d(np.arange(tia.size), index)
    own = tia[index].mean() / kinetics.integral(*terms(inside))
    return own, tia[rest].mean() / kinetics.integral(*terms("bi")), fitted.sum_to_curve


@pytest.mark.parametrize("inside", CURVES)
def test_voxels_of_any_curve_add_to_the_truth_at_twice_as_much_noise_as_activity(inside):
    own, rest, before = sums_over_truth(inside, 2.0, shape=(50, 40, 40))
    assert own == pytest.approx(1.0, abs=0.03)
    assert rest == pytest.approx(1.0, abs=0.03)
    assert before["rest"] > 1.1  # what clipping would have left


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("inside", CURVES)
def test_voxels_add_to_the_truth_at_any_noise(inside, noise):
    own, rest, before = sums_over_truth(inside, noise, shape=(50, 40, 40))
    assert own == pytest.approx(1.0, abs=0.03)
    assert rest == pytest.approx(1.0, abs=0.03)
    assert abs(before["organ"] - 1.0) < 0.25


# The remainder


def two_structures(hours=HOURS, tracer=None):
    """A liver with a lesion inside it, drawn over each other, and a warm body around them."""
    base, liver, lesion = small_study(hours, structures=False), sphere(18.0), sphere(9.0)
    layers = (
        Volume(liver.astype(np.uint8), GRID, Quantity.LABELS),
        Volume((2 * lesion).astype(np.uint8), GRID, Quantity.LABELS),
    )
    drawn = Structures(layers, {1: "liver", 2: "lesion"}, frozenset({"lesion"}))
    scans = []
    for tp in base.timepoints:
        decayed = 2.0 ** (-tp.time_h / 60.0)
        activity = np.where(lesion, 4e5, np.where(liver, 2e5, 1e4)) * decayed
        scans.append(
            TimePoint.of(tp.id, tp.time_h, Volume(activity.astype(np.float32), GRID, Quantity.ACTIVITY), tp.ct, drawn)
        )
    return Study("P7", "Lu-177", base.administration, "tp1", tuple(scans), tracer=tracer)


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("body") / "out"
    study = two_structures(tracer="Lutetium Lu-177 dotatate")
    return run_patient(study, folder, load_settings(None, ["registration.engine=none"])), folder


def test_structures_and_remainder_are_the_whole_body_at_every_scan(ran):
    """The lesion inside the liver counts once: liver + rest = whole body."""
    _, folder = ran
    activity = {}
    for row in table(folder / "tac.csv"):
        activity.setdefault(row["structure"], []).append(float(row["activity_mbq"]))
    np.testing.assert_allclose(
        np.array(activity["liver"]) + np.array(activity["rest"]), activity["whole_body"], rtol=1e-5
    )
    total = [float(np.sum(tp.activity.data, dtype=float)) * GRID.voxel_volume_ml * 1e-6
             for tp in two_structures().timepoints]  # fmt: skip
    np.testing.assert_allclose(activity["whole_body"], total, rtol=1e-5)


def test_rows_of_the_body_have_their_own_curve_and_the_dose_of_their_voxels(ran):
    results, folder = ran
    rows = {row["structure"]: row for row in table(folder / "metrics.csv")}
    assert [row["role"] for row in rows.values()] == ["organ", "tumour", "rest", "whole_body"]
    rest, whole = rows["rest"], rows["whole_body"]
    voxel_ml, left = GRID.voxel_volume_ml, ~sphere(18.0)
    expected = 1e4 * 60.0 / LN2 * left.sum() * voxel_ml * 1e-6
    assert float(rest["tia_curve_mbq_h"]) == pytest.approx(expected, rel=0.05)
    assert float(rest["tia_mbq_h"]) == pytest.approx(float(rest["tia_curve_mbq_h"]), rel=1e-4)
    assert float(rest["teff_h"]) == pytest.approx(60.0, rel=0.05)
    inside = sphere(60.0) & left  # small_study draws a body of 60 mm
    assert float(rest["volume_ml"]) == pytest.approx(inside.sum() * voxel_ml, rel=0.05)
    dose = results.maps.dose.data[inside]
    assert float(rest["dose_mean_gy"]) == pytest.approx(float(dose[dose > 0].mean()), rel=0.02)
    assert rest["dose_d2_gy"] == whole["dose_d98_gy"] == ""
    assert float(whole["mass_g"]) > float(rest["mass_g"]) > 0.0
    assert set(json.loads((folder / "curves.json").read_text())) == set(rows)
    assert float(rest["u_extrapolated_percent"]) > 0.0


def test_the_prior_comes_from_the_tracer_of_the_study_and_is_named(ran, tmp_path):
    results, folder = ran
    assert results.settings.kinetics.tracer == "DOTATATE"
    found = json.loads((folder / "curves.json").read_text())
    assert {name: found[name]["average"]["prior"] for name in found} == {
        "liver": "DOTATATE liver", "lesion": "DOTATATE tumour", "rest": "wide, body", "whole_body": "wide, body",
    }  # fmt: skip
    page = (folder / "report.html").read_text()
    assert "published half-lives of DOTATATE" in page
    assert "wide priors chosen by this program for rest" in page
    save_study(two_structures(tracer="Lutathera"), tmp_path / "study")
    assert load_study(tmp_path / "study").tracer == "Lutathera"
    unknown = run_patient(
        two_structures(tracer="water"), tmp_path / "out", load_settings(None, ["registration.engine=none"])
    )
    assert unknown.structures[0].curve.average.prior.name == "wide, organ"
    assert "no tracer was named" in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize(
    ("text", "tracer"),
    [
        ("Lutetium Lu-177 dotatate", "DOTATATE"), ("177Lu-DOTATOC", "DOTATOC"), ("Pluvicto", "PSMA-617"),
        ("Lu-177-PSMA-I&T", "PSMA-I&T"), ("Sodium Iodide I-131", "NaI"), ("I-131-NaI", "NaI"),
        ("Y-90-microspheres", None), ("DOTA-pentixather", None), ("Lu-177", None),
    ],
)  # fmt: skip
def test_radiopharmaceuticals_are_known_by_their_names(text, tracer):
    assert tracer_in(text) == tracer


def test_the_names_of_the_body_are_taken(tmp_path):
    study = two_structures()
    drawn = replace(study.reference.structures, names={1: "whole_body", 2: "lesion"})
    scans = tuple(TimePoint.of(tp.id, tp.time_h, tp.activity, tp.ct, drawn) for tp in study.timepoints)
    with pytest.raises(InputError, match=r"whole_body.*all voxels that every scan sees"):
        run_patient(replace(study, timepoints=scans), tmp_path / "out")


def test_tiac_of_both_kidneys_is_one_source_region(ran):
    _, folder = ran
    lines = [line.split("|") for line in (folder / "tiac.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line[0] for line in lines] == ["Liver", "Total Body", "-"]
    rows = {row["structure"]: row for row in table(folder / "metrics.csv")}
    for line, name in zip(lines, ("liver", "rest", "lesion"), strict=True):
        assert float(line[2]) == pytest.approx(float(rows[name]["tia_curve_mbq_h"]) / 7400.0, rel=1e-4)
        assert line[5] == name
    sides = {
        source_region(name).olinda for name in ("kidney_left", "kidney-right", "Kidneys", "left kidney", "kidney_L")
    }
    assert sides == {"Kidneys"}
    assert source_region("kidney_lesion") is None
    assert source_region("parotid_left").icrp == "Salivary glands"


# Words


def test_a_curve_that_was_not_fitted_is_not_called_by_a_model():
    """Three points that rise: no half-life, and the tail an upper bound."""
    rising = study_curve((1.0, 2.0, 3.0))
    assert rising.model == "rising, physical tail"
    assert np.isnan(rising.teff_h)
    assert np.isnan(rising.u_teff_h)
    assert any("upper bound" in flag for flag in rising.flags)
    flat = study_curve((1.0, 1.0, 0.98))
    assert flat.model == "slow, physical tail"
    assert np.isnan(flat.u_teff_h)
    held = study_curve(tuple(2.0 ** (-np.array(HOURS[:3]) / (1.2 * LU_H))))
    assert held.model == "physical tail"
    assert held.teff_h == pytest.approx(LU_H)
    falling = study_curve(tuple(2.0 ** (-np.array(HOURS[:3]) / 40.0)))
    assert falling.model == "mono"
    assert not any("upper bound" in flag for flag in falling.flags)


def study_curve(values):
    t, y = np.array(HOURS[:3]), np.array(values)
    return StructureCurve(t, y, np.full(3, np.nan), fit_organ(t, y, LU_H))


def test_the_share_after_the_last_scan_has_its_own_uncertainty():
    """Of one exponential it is e^(-λ t_n), so u = t_n e^(-λ t_n) u(λ)."""
    t = np.array([4.0, 24.0, 96.0, 168.0])
    y = 100.0 * 2.0 ** (-t / 50.0)
    fit = fit_organ(t, y, LU_H, u_activity_mbq=0.05 * y)
    share = 2.0 ** (-168.0 / 50.0)
    assert fit.extrapolated_fraction == pytest.approx(share, rel=1e-5)
    assert fit.u_extrapolated_fraction == pytest.approx(168.0 * share * np.sqrt(fit.covariance[1, 1]), rel=1e-5)


def test_regions_of_a_study_are_those_drawn():
    frames = overlay_series(two_structures())
    curves = structure_curves(frames, regions_of(two_structures()), KineticsSettings(), LU_H)
    assert set(curves.structures) == {"liver", "lesion"}
    assert float(curves.rest_ml.sum()) == pytest.approx((~sphere(18.0)).sum() * GRID.voxel_volume_ml, rel=1e-5)
