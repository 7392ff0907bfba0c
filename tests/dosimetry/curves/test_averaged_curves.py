"""The curve method "bayes" in the patient run: few scans of activity that first rises, and what is said of them."""

import csv
import json
import re

import numpy as np
import pytest
from support.small_study import GRID, small_study, sphere

from dosimetry import run_patient
from dosimetry.config import load_settings
from dosimetry.curves.fits import representative_fit
from dosimetry.curves.points import OrganPoints
from dosimetry.curves.structures import StructureCurve, structure_curves
from dosimetry.curves.voxels import fit_frames
from dosimetry.kinetics import FitStatus, IntervalMethod, average_models
from dosimetry.kinetics.priors import TRACERS, WIDE_ORGAN, WIDE_TUMOUR, find_prior, tracer_named
from dosimetry.structures import regions_of
from nufitdose.errors import InputError
from nufitdose.nuclides import half_life_h
from nufitdose.registration.series import overlay_series
from nufitdose.study import Structures, Study, TimePoint
from nufitdose.volume import Quantity, Volume

LU_H = half_life_h("Lu-177")
TEFF_H, UPTAKE_H, ORGAN_H = 55.0, 6.0, 51.0
BQ_ML = 2e5
LESION_TIA = BQ_ML * (TEFF_H - UPTAKE_H) / np.log(2)  # Bq h/mL
NAMES = {1: "lesion", 2: "kidney_left"}


def labels() -> np.ndarray:
    left = np.arange(GRID.shape[0])[:, None, None] < GRID.shape[0] // 2
    return np.where(sphere(), np.where(left, 1, 2), 0).astype(np.uint8)


def lesion(time_h):
    """Uptake from zero, then clearance."""
    return BQ_ML * (2.0 ** (-np.asarray(time_h) / TEFF_H) - 2.0 ** (-np.asarray(time_h) / UPTAKE_H))


def study_of(hours=(4.0, 24.0, 72.0), lesion_curve=lesion, noise=0.0) -> Study:
    base, drawn = small_study(hours, structures=False), labels()
    structures = Structures((Volume(drawn, GRID, Quantity.LABELS),), NAMES, frozenset({"lesion"}))
    random, points = np.random.default_rng(0), []
    for tp in base.timepoints:
        kidney = BQ_ML * 2.0 ** (-tp.time_h / ORGAN_H)
        activity = np.where(drawn == 1, lesion_curve(tp.time_h), np.where(drawn == 2, kidney, 0.0))
        activity = activity * (1.0 + noise * random.normal(size=GRID.shape))
        volume = Volume(activity.astype(np.float32), GRID, Quantity.ACTIVITY)
        points.append(TimePoint.of(tp.id, tp.time_h, volume, tp.ct, structures))
    return Study("P7", "Lu-177", base.administration, "tp1", tuple(points))


def settings_of(*overrides):
    return load_settings(None, ["registration.engine=none", *overrides])


def fitted(study, *overrides):
    settings, frames, regions = settings_of(*overrides).kinetics, overlay_series(study), regions_of(study)
    curves = structure_curves(frames, regions, settings, LU_H, tumours=study.structures.tumours)
    return curves, fit_frames(frames, LU_H, settings, regions, curves).fit


def ran(study, folder, *overrides):
    """Rows of metrics.csv, curves.json and the page of the report."""
    run_patient(study, folder, settings_of(*overrides))
    with (folder / "metrics.csv").open() as file:
        rows = {row["structure"]: row for row in csv.DictReader(file)}
    return rows, json.loads((folder / "curves.json").read_text()), (folder / "report.html").read_text()


def error(row, column):
    return float(row[column]) / (LESION_TIA * float(row["volume_ml"]) * 1e-6) - 1.0


def test_three_scans_of_uptake_and_clearance(tmp_path):
    """Within 10 % where one exponential, all that AICc can have of three scans, is beyond 25 %; and said to be weak."""
    aicc, _, _ = ran(study_of(), tmp_path / "aicc", "kinetics.model=aicc")
    assert aicc["lesion"]["model"] == "slow, physical tail"  # not mono, which would need a rate of its own
    assert error(aicc["lesion"], "tia_curve_mbq_h") > 0.25
    rows, curves, page = ran(study_of(), tmp_path / "auto", "kinetics.tracer=PSMA-617")
    row, record = rows["lesion"], curves["lesion"]
    assert row["model"] == "f3"
    for column in ("tia_curve_mbq_h", "tia_mbq_h"):
        assert abs(error(row, column)) < 0.1
    assert 0.05 < float(row["u_tia_curve_mbq_h"]) / float(row["tia_curve_mbq_h"]) < 0.2
    assert float(row["u_teff_h"]) > 0.0
    assert "not to rely on: 95 % of the curves" in row["fit_flags"]
    assert record["status"] == "UPTAKE_CLEARANCE"
    assert sum(record["average"]["probabilities"].values()) == pytest.approx(1.0)
    assert record["average"]["prior"] == find_prior("PSMA-617", "lesion", tumour=True).name
    assert record["average"]["red"]
    assert record["average"]["tia_at_most_mbq_h"] > record["tia_mbq_h"]
    low, high = record["intervals"]["tia_mbq_h"]
    assert low < record["tia_mbq_h"] < high
    assert record["aicc"] is None
    assert record["covariance"] == [[None] * 3] * 3
    assert re.search(r"The time-integrated activity of [^.]*lesion[^.]* median over curves of mono, f3", page)
    assert "published half-lives of PSMA-617" in page
    assert "10.1214/ss/1009212519" in page
    light = re.search(r"not to rely on: [^<]*lesion \(95\s% of the curves", page)
    assert light
    assert "far outside" in page
    assert abs(error(row, "tia_curve_mbq_h")) < error(aicc["lesion"], "tia_curve_mbq_h") / 5


def test_an_organ_that_one_exponential_describes_keeps_its_integral():
    for scans in ((4.0, 24.0, 72.0, 168.0), (24.0, 96.0)):
        curve = fitted(study_of(scans), "kinetics.model=bayes", "kinetics.tracer=DOTATATE")[0].structures["kidney_left"]
        volume_ml = regions_of(study_of(scans))["kidney_left"].volume_ml
        expected = BQ_ML * ORGAN_H / np.log(2) * volume_ml * 1e-6
        assert curve.tia_mbq_h == pytest.approx(expected, rel=0.08)
        assert abs(curve.tia_mbq_h - expected) < 2.0 * curve.u_tia_mbq_h


def test_voxels_add_to_the_integral_that_they_do_not_have_themselves():
    study = study_of(noise=0.1)
    curves, fit = fitted(study, "kinetics.model=bayes")
    for name, region in regions_of(study).items():
        total = float(fit.tia[region.index].astype(float) @ region.part_ml)
        assert total == pytest.approx(curves.structures[name].tia_mbq_h * 1e6, rel=1e-5)
    mixed, fit = fitted(study, "kinetics.models={lesion: bayes}", "kinetics.model=mono")
    kidney = regions_of(study)["kidney_left"]
    assert mixed.structures["kidney_left"].average is None
    _, plain = fitted(study, "kinetics.model=mono")
    np.testing.assert_array_equal(fit.tia[kidney.index], plain.tia[kidney.index])


def test_activity_that_still_rises_has_no_half_life_and_an_upper_bound():
    curves, _ = fitted(study_of((2.0, 6.0, 10.0)), "kinetics.model=bayes")
    found = curves.structures["lesion"]
    assert np.isnan(found.teff_h)
    assert np.isnan(found.fit.u_teff_h)
    assert np.isnan(found.fit.intervals.teff_h).all()
    assert found.fit.intervals.method is IntervalMethod.POSTERIOR
    assert any("nothing cleared, is an upper bound" in flag for flag in found.fit.flags)
    assert any("not to rely on: activity still rises" in flag for flag in found.fit.flags)


@pytest.mark.parametrize(("level", "status"), [(0.0, FitStatus.NOTHING), (-1.0, FitStatus.NOT_POSITIVE)])
def test_a_structure_without_activity_gets_nothing_as_with_any_method(level, status):
    curves, fit = fitted(study_of(lesion_curve=lambda _: level), "kinetics.model=bayes")
    found = curves.structures["lesion"]
    assert (found.tia_mbq_h, found.fit.status, found.average) == (0.0, status, None)
    assert set(fit.status[labels().reshape(-1) == 1].tolist()) == {int(status)}


def test_the_fit_that_stands_for_an_average_is_its_curve():
    """Any order of scans and a missing one: integral, shares and χ² are those of the curve's own closed form."""
    times_h, nan = np.array([96.0, 4.0, 24.0, 168.0, 48.0]), float("nan")
    activity = 1e-3 * lesion(times_h) * np.array([1.02, 0.97, 1.01, 0.99, nan])
    points = OrganPoints(times_h, activity, LU_H, 0.05 * np.abs(activity), prior=WIDE_TUMOUR)
    average = average_models(times_h, activity, LU_H, u_activity_mbq=points.u_activity_mbq, prior=WIDE_TUMOUR)
    fit = representative_fit(average, points)
    assert fit.times_h.tolist() == sorted(times_h)
    assert np.isnan(fit.fitted_mbq).tolist() == [False, False, True, False, False]
    assert float((fit.amplitudes_mbq / fit.rates_per_h).sum()) == pytest.approx(average.tia_mbq_h)
    measured = np.isfinite(activity)
    residual = (activity - fit.curve(times_h))[measured] / points.u_activity_mbq[measured]
    assert fit.chi2 == pytest.approx(float(residual @ residual))
    assert fit.chi2 < 9.5  # 95 % of χ² of four points
    assert np.isnan(fit.aicc)


def test_voxels_take_the_leading_model_as_far_as_they_can():
    times_h = np.array([2.0, 6.0, 24.0, 96.0])
    activity = 1e-3 * lesion(times_h)
    for scans, model, expected in (
        (4, "tri", "f3"),
        (4, "bi", "bi"),
        (3, "bi", "mono"),
        (3, "f3a", "f3a"),
        (2, "f3", "mono"),
    ):
        t, y = times_h[-scans:], activity[-scans:]
        average = average_models(t, y, LU_H, prior=WIDE_ORGAN, models=[model])
        fit = representative_fit(average, OrganPoints(t, y, LU_H))
        curve = StructureCurve(t, y, np.full(scans, np.nan), fit, average=average)
        assert (curve.model, curve.voxel_model) == (model, expected)


def test_tracers_are_known_by_name():
    for name in TRACERS:
        assert tracer_named(name.lower()) == tracer_named(f"Lu-177-{name}") == name
        assert find_prior(name, "lesion", tumour=True) != WIDE_TUMOUR
    assert settings_of("kinetics.tracer=lu-177-psma-617").kinetics.tracer == "PSMA-617"
    with pytest.raises(InputError, match=r"kinetics\.tracer'.*Did you mean 'DOTATATE'.*Known: DOTATATE"):
        settings_of("kinetics.tracer=DOTATAET")
    with pytest.raises(InputError, match="wide prior"):
        settings_of("kinetics.tracer=water")


def test_a_tracer_that_nothing_asks_for_and_one_scan_are_refused(tmp_path):
    with pytest.raises(InputError, match="no structure's model is 'auto' or 'bayes'"):
        run_patient(study_of(), tmp_path, settings_of("kinetics.tracer=NaI", "kinetics.model=mono"))
    with pytest.raises(InputError, match="needs 2 scans"):
        run_patient(study_of((24.0,)), tmp_path, settings_of("kinetics.model=bayes"))
