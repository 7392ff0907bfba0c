"""Which curve the patient run puts through each structure and its voxels, and what it integrates to."""

import csv
import json
import math
import re

import numpy as np
import pytest
from support.small_study import GRID, small_study, sphere

from dosimetry import run_patient
from dosimetry.config import REST, KineticsSettings, load_settings
from dosimetry.curves.methods import FITTED_STATUSES, METHODS
from dosimetry.curves.points import OrganPoints, VoxelPoints
from dosimetry.curves.requirements import check_methods
from dosimetry.curves.rules import organ_by_trapezoid, voxels_by_trapezoid, voxels_from_one_scan
from dosimetry.curves.structures import structure_curves, u_of_curve_mbq
from dosimetry.curves.voxels import fit_frames, voxel_curves
from dosimetry.kinetics import FitStatus, fit_organ, haenscheid, population_half_life, trapezoid
from dosimetry.kinetics.models import MODELS
from dosimetry.structures import regions_of
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.nuclides import half_life_h
from nufitdose.progress import Steps
from nufitdose.registration.series import Frame, overlay_series, register_series
from nufitdose.study import Structures, Study, TimePoint
from nufitdose.volume import Quantity, Volume

LU_H = half_life_h("Lu-177")
HOURS = (1.0, 4.0, 12.0, 24.0, 48.0, 96.0, 168.0)
FAST_H, SLOW_H = 6.0, 80.0
NAMES = {1: "liver", 2: "kidney_left"}


def halves() -> np.ndarray:
    """The sphere in two structures, by x."""
    left = np.arange(GRID.shape[0])[:, None, None] < GRID.shape[0] // 2
    return np.where(sphere(), np.where(left, 1, 2), 0).astype(np.uint8)


def bi(time_h):
    """Bq/mL: 70 % leave fast."""
    return 2e5 * (0.7 * 2.0 ** (-np.asarray(time_h) / FAST_H) + 0.3 * 2.0 ** (-np.asarray(time_h) / SLOW_H))


def mono(time_h):
    return 2e5 * 2.0 ** (-np.asarray(time_h) / 60.0)


BI_TIA = 2e5 * (0.7 * FAST_H + 0.3 * SLOW_H) / math.log(2)
MONO_TIA = 2e5 * 60.0 / math.log(2)


def study_of(hours=HOURS, *, noise=0.0, slice_offsets_h=None, seed=0) -> Study:
    """The liver loses its activity in two phases, the kidney in one; nothing elsewhere."""
    base, random, labels = small_study(hours, structures=False), np.random.default_rng(seed), halves()
    drawn = Structures((Volume(labels, GRID, Quantity.LABELS),), NAMES)
    points = []
    for tp in base.timepoints:
        later = np.zeros(GRID.shape[2]) if slice_offsets_h is None else slice_offsets_h
        measured = tp.time_h + later
        truth = np.where(labels == 1, bi(measured), np.where(labels == 2, mono(measured), 0.0))
        truth = truth * 2.0 ** (later / LU_H)  # decay-corrected to the start of the scan
        activity = truth * (1.0 + noise * random.normal(size=GRID.shape))
        volume = Volume(activity.astype(np.float32), GRID, Quantity.ACTIVITY)
        points.append(TimePoint.of(tp.id, tp.time_h, volume, tp.ct, drawn, slice_offsets_h))
    return Study("P7", "Lu-177", base.administration, "tp1", tuple(points))


def settings_of(*overrides):
    return load_settings(None, ["registration.engine=none", *overrides])


AS_LAID = settings_of()


def rows(path):
    with path.open() as file:
        return {row["structure"]: row for row in csv.DictReader(file)}


def fitted(study, *overrides):
    """Curves and voxel fits of a study without its dose."""
    settings, frames, regions = settings_of(*overrides).kinetics, overlay_series(study), regions_of(study)
    curves = structure_curves(frames, regions, settings, LU_H)
    return curves, fit_frames(frames, LU_H, settings, regions, curves).fit


def test_auto_finds_the_two_phases_and_leaves_the_other_structure_its_one(tmp_path):
    results = run_patient(study_of(noise=0.02), tmp_path / "out", settings_of("kinetics.guided=false"))
    found = rows(tmp_path / "out/metrics.csv")
    assert (found["liver"]["model"], found["kidney_left"]["model"]) == ("bi", "mono")
    volume_ml = {name: float(found[name]["volume_ml"]) for name in found}
    for name, tia, share in (("liver", BI_TIA, 0.03), ("kidney_left", MONO_TIA, 0.01)):
        expected = tia * volume_ml[name] * 1e-6
        assert float(found[name]["tia_curve_mbq_h"]) == pytest.approx(expected, rel=share)
        assert float(found[name]["tia_mbq_h"]) == pytest.approx(expected, rel=share)
    assert 0.5 < float(found["liver"]["akaike_weight"]) <= 1.0
    assert float(found["liver"]["teff_h"]) == pytest.approx(SLOW_H, rel=0.05)
    status = results.maps.fit.status.reshape(GRID.shape)
    assert (status[halves() == 1] == FitStatus.BI).mean() > 0.95
    assert set(np.unique(status[halves() == 2])) <= {FitStatus.MONO, FitStatus.MONO_AT_PHYSICAL}
    curves = json.loads((tmp_path / "out/curves.json").read_text())
    assert sum(curves["liver"]["akaike_weights"].values()) == pytest.approx(1.0)
    page = (tmp_path / "out/report.html").read_text()
    assert re.search(r"In the voxels of liver[^.]* a sum of two clearing exponentials was fitted", page)
    assert "largest Akaike weight" in page


def test_one_exponential_through_two_phases_is_wrong_where_auto_is_right():
    """What the choice gains: the same study with mono in every structure."""
    _, plain = fitted(study_of(), "kinetics.model=mono")
    _, auto = fitted(study_of())
    liver = halves().reshape(-1) == 1
    assert auto.tia[liver] == pytest.approx(np.full(liver.sum(), BI_TIA), rel=1e-3)
    assert abs(plain.tia[liver].mean() / BI_TIA - 1.0) > 0.1


def test_a_structure_has_the_model_asked_for_it():
    curves, fit = fitted(study_of(), "kinetics.models={liver: f3a, rest: trapezoid}", "kinetics.model=mono")
    assert tuple(curves.of(name).model for name in ("liver", "kidney_left", REST)) == ("f3a", "mono", "none")
    assert curves.whole_body.model == "trapezoid"  # as the rest, which is empty here
    labels = halves().reshape(-1)
    assert set(np.unique(fit.status[labels == 1])) <= {FitStatus.CLEARANCE_RETENTION, FitStatus.GUIDED_TWO_RATES}
    assert set(np.unique(fit.status[labels == 2])) == {FitStatus.MONO}
    assert set(np.unique(fit.status[labels == 0])) == {FitStatus.NOTHING}


def test_the_integral_averaged_over_models_lies_between_theirs():
    known = "kinetics.u_activity_percent=20", "kinetics.model=aicc"
    best, mean = (
        fitted(study_of(noise=0.1), *known, *more)[0].structures["liver"] for more in ((), ("kinetics.averaged=true",))
    )
    tias = [fit.tia_mbq_h for fit in best.choice.fits.values()]
    assert min(tias) < mean.tia_mbq_h < max(tias)
    assert mean.tia_mbq_h != best.tia_mbq_h
    weighted = sum(w * best.choice.fits[name].tia_mbq_h for name, w in best.choice.weights.items())
    assert mean.tia_mbq_h == pytest.approx(weighted)
    assert best.u_tia_mbq_h < mean.u_tia_mbq_h < 0.5 * mean.tia_mbq_h  # the choice adds; models left open do not count


def test_given_uncertainties_weigh_the_points_and_reach_the_tables(tmp_path):
    asked = settings_of("kinetics.u_activity_percent=5", "kinetics.model=mono")
    run_patient(study_of((4.0, 24.0)), tmp_path / "out", asked)
    kidney = rows(tmp_path / "out/metrics.csv")["kidney_left"]
    with (tmp_path / "out/tac.csv").open() as file:
        points = [row for row in csv.DictReader(file) if row["structure"] == "kidney_left"]
    for point in points:
        assert float(point["u_activity_mbq"]) == pytest.approx(0.05 * float(point["activity_mbq"]), rel=1e-5)
    # two points fix the rate: u(λ) = √2 · 0.05 / Δt, and Ã = a/λ with both errors
    times_h, a = [4.0, 24.0], [float(point["activity_mbq"]) for point in points]
    slopes = []
    for change in ((1.001, 1.0), (1.0, 1.001)):
        shifted = fit_organ(times_h, np.array(a) * change, LU_H).tia_mbq_h / float(kidney["tia_curve_mbq_h"]) - 1.0
        slopes.append(50.0 * shifted)  # of 5 %
    assert float(kidney["u_tia_curve_mbq_h"]) / float(kidney["tia_curve_mbq_h"]) == pytest.approx(
        math.hypot(*slopes), rel=2e-2
    )


def test_an_uptake_that_no_scan_saw_leaves_no_uncertainty_to_be_stated():
    """An f3 through a curve that only falls: the linear error of its uptake is 1e10 times the integral and more."""
    asked = "kinetics.models={liver: f3}", "kinetics.u_activity_percent=10"
    liver = fitted(study_of(noise=0.1), *asked)[0].structures["liver"]
    assert liver.fit.u_tia_mbq_h > 1e10 * liver.fit.tia_mbq_h
    assert np.isnan(liver.u_tia_mbq_h)
    assert u_of_curve_mbq(liver.fit, np.array([1.0])) is None


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mono", "bi", "f3", "f3a"])
def test_the_band_is_the_scatter_of_the_curve(model):
    """√(J V Jᵀ) against the scatter of refitted noisy curves."""
    random, times_h = np.random.default_rng(5), np.array(HOURS)
    clean = {
        "mono": mono(times_h),
        "bi": bi(times_h),
        "f3": mono(times_h) - 2e5 * 2.0 ** (-times_h / 1.5),
        "f3a": mono(times_h) + 1e5 * 2.0 ** (-times_h / LU_H),
    }[model]
    u = 0.003 * clean
    at_h = np.array([2.0, 30.0, 120.0])
    band = u_of_curve_mbq(fit_organ(times_h, clean, LU_H, u_activity_mbq=u, model=model), at_h)
    refits = [
        fit_organ(times_h, clean + u * random.normal(size=times_h.size), LU_H, u_activity_mbq=u, model=model).curve(
            at_h
        )
        for _ in range(60)
    ]
    np.testing.assert_allclose(band, np.std(refits, axis=0), rtol=0.3)


def test_one_scan_by_haenscheid_is_the_closed_form(tmp_path):
    run_patient(study_of((72.0,)), tmp_path / "out", settings_of("kinetics.model=haenscheid"))
    found = rows(tmp_path / "out/metrics.csv")
    for name, activity in (("liver", bi(72.0)), ("kidney_left", mono(72.0))):
        total_mbq = float(activity) * float(found[name]["volume_ml"]) * 1e-6
        for column in ("tia_mbq_h", "tia_curve_mbq_h"):
            assert float(found[name][column]) == pytest.approx(float(haenscheid(total_mbq, 72.0)), rel=1e-4)
        assert found[name]["teff_h"] == ""  # the rule needs none and finds none
    page = (tmp_path / "out/report.html").read_text()
    assert "2 t A(t)/ln 2" in page
    assert "10.2967/jnumed.117.193706" in page
    assert "least squares" not in page.split('class="paste"')[1].split("</p>")[0]


def test_one_scan_with_half_lives_of_a_population():
    halves_h = "kinetics.half_lives_h={liver: 67, kidney_left: 50, rest: 80}"
    curves, fit = fitted(study_of((24.0,)), "kinetics.model=population", halves_h)
    labels = halves().reshape(-1)
    for label, name, activity, hours in ((1, "liver", bi(24.0), 67.0), (2, "kidney_left", mono(24.0), 50.0)):
        expected = float(population_half_life(float(activity), 24.0, hours, LU_H))
        assert fit.tia[labels == label] == pytest.approx(np.full((labels == label).sum(), expected), rel=1e-5)
        assert set(np.unique(fit.status[labels == label])) == {FitStatus.POPULATION}
        assert curves.structures[name].teff_h == pytest.approx(hours)
        of_organ = curves.structures[name].fit
        assert of_organ.before_first_fraction + of_organ.extrapolated_fraction == pytest.approx(1.0)
    kidney = curves.structures["kidney_left"]
    assert kidney.fit.curve([24.0])[0] == pytest.approx(kidney.activity_mbq[0])


REFUSED = {
    "many from one": ((72.0,), ["kinetics.model=mono"], "needs 2 scans.*one scan"),
    "bi from three": ((4.0, 24.0, 96.0), ["kinetics.models={liver: bi}"], "needs 4 scans.*3 scans"),
    "one from many": ((4.0, 24.0), ["kinetics.model=haenscheid"], "takes one scan, and the study has 2"),
    "no half-life": ((24.0,), ["kinetics.model=population", "kinetics.half_lives_h={liver: 67}"], "kidney_left, rest"),
    "a default": (
        (24.0,),
        ["kinetics.model=population", "kinetics.half_lives_h={liver: 67, kidney_left: 50, default: 80}"],
        "'default', which is no structure",
    ),
    "too long": (
        (24.0,),
        ["kinetics.model=population", "kinetics.half_lives_h={liver: 167, kidney_left: 50, rest: 80}"],
        "longer than the physical",
    ),
    "unused half-life": ((4.0, 24.0), ["kinetics.half_lives_h={liver: 67}"], "is not 'population'"),
    "misspelt": ((4.0, 24.0), ["kinetics.models={livr: mono}"], "Did you mean 'liver'"),
    "too few to compare in voxels": (HOURS[:5], ["kinetics.model=aicc_voxel"], "needs 6 scans.*5 scans"),
    "points without an uncertainty": ((4.0, 24.0), ["kinetics.intervals=bootstrap"], "redraws the points"),
    "a stranger shares": ((4.0, 24.0), ["kinetics.shared_rates=[[livr, kidney_left]]"], "Did you mean 'liver'"),
    "alone in a group": ((4.0, 24.0), ["kinetics.model=mono", "kinetics.shared_rates=[[liver]]"], "a group of 1"),
    "in two groups": (
        (4.0, 24.0),
        ["kinetics.model=mono", "kinetics.shared_rates=[[liver, kidney_left], [liver, kidney_left]]"],
        "kidney_left, liver twice",
    ),
    "shared but not named": ((4.0, 24.0), ["kinetics.shared_rates=[[liver, kidney_left]]"], "with the model auto"),
    "shared but not alike": (
        HOURS,
        ["kinetics.models={liver: bi, kidney_left: mono}", "kinetics.shared_rates=[[liver, kidney_left]]"],
        "with the model bi and mono",
    ),
    "nothing to average": ((4.0, 24.0), ["kinetics.model=mono", "kinetics.averaged=true"], "nothing to weigh"),
}


@pytest.mark.parametrize(("hours", "overrides", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_had_is_refused_before_anything_is_computed(tmp_path, hours, overrides, said):
    with pytest.raises(InputError) as refusal:
        run_patient(study_of(hours), tmp_path / "out", settings_of(*overrides))
    assert re.search(said, str(refusal.value))
    assert refusal.value.remedy
    assert not (tmp_path / "out").exists()


def test_with_one_scan_the_refusal_names_what_there_is():
    settings = settings_of("kinetics.model=mono").kinetics
    with pytest.raises(InputError, match="auto, physical, haenscheid, population"):
        check_methods(settings, ["liver"], 1, LU_H)


def test_a_method_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"'kinetics\.model'.*Did you mean 'haenscheid'"):
        settings_of("kinetics.model=haenschied")
    with pytest.raises(InputError, match=r"'kinetics\.models'.*Did you mean 'trapezoid'"):
        settings_of("kinetics.models={liver: trapezoids}")
    assert KineticsSettings().model in METHODS


def test_every_method_says_what_it_needs_and_what_it_gives():
    """The registry against the fits: fewest scans are the parameters; voxels take what is chosen or averaged."""
    for name, method in METHODS.items():
        assert method.name == name
        assert (method.voxels is None) == (name in {"auto", "bayes", "aicc"})
        assert bool(method.sentence) == (method.voxels is not None)
        if method.fixed_model:
            assert method.fewest_scans == MODELS[name].n_parameters
            assert MODELS[name].status in method.statuses
    rules = {FitStatus.NOTHING, FitStatus.NOT_POSITIVE, FitStatus.ONE_POINT, FitStatus.RISING, FitStatus.SLOW}
    rules |= {FitStatus.MONO_AT_FASTEST, FitStatus.TRAPEZOID, FitStatus.POPULATION, FitStatus.HAENSCHEID}
    assert set(FitStatus) - FITTED_STATUSES == rules


@pytest.mark.parametrize("override", ["kinetics.model=tri", "kinetics.half_lives_h={liver: -3}", "kinetics.modle=mono"])
def test_settings_are_strict(override):
    with pytest.raises(InputError, match="kinetics"):
        settings_of(override)


def test_an_engine_that_does_not_exist_is_refused_with_the_settings():
    with pytest.raises(InputError, match=r"Did you mean 'rigid'.*Known: .*rigid"):
        load_settings(None, ["registration.engine=rigd"])


def test_trapezoids_are_those_of_the_library_and_drop_missing_values():
    random = np.random.default_rng(2)
    times_h = np.array([4.0, 24.0, 96.0])
    activity = random.uniform(10.0, 100.0, (40, 3)).astype(np.float32)
    fit = voxels_by_trapezoid(VoxelPoints(activity, list(times_h), LU_H))
    np.testing.assert_allclose(fit.tia, trapezoid(activity, times_h, LU_H), rtol=1e-5)
    activity[:, 1] = np.nan
    fit = voxels_by_trapezoid(VoxelPoints(activity, list(times_h), LU_H))
    np.testing.assert_allclose(fit.tia, trapezoid(activity[:, [0, 2]], times_h[[0, 2]], LU_H), rtol=1e-5)
    organ = organ_by_trapezoid(OrganPoints(times_h, activity[0].astype(float), LU_H, 0.05 * activity[0].astype(float)))
    assert organ.tia_mbq_h == pytest.approx(float(fit.tia[0]), rel=1e-5)
    fine_h = np.linspace(0.0, 4000.0, 400_001)
    assert np.trapezoid(organ.curve(fine_h), fine_h) == pytest.approx(organ.tia_mbq_h, rel=1e-4)
    assert 0.0 < organ.u_tia_mbq_h < 0.05 * organ.tia_mbq_h  # errors of two points partly cancel


def test_a_voxel_that_is_not_positive_gets_nothing_from_trapezoids():
    activity = np.array([[-5.0, -1.0], [0.0, 0.0], [np.nan, np.nan]], dtype=np.float32)
    fit = voxels_by_trapezoid(VoxelPoints(activity, [4.0, 24.0], LU_H))
    assert fit.tia.tolist() == [0.0, 0.0, 0.0]
    assert fit.status.tolist() == [FitStatus.NOT_POSITIVE, FitStatus.NOTHING, FitStatus.NOTHING]


def test_the_voxels_add_to_the_integral_of_their_structure_unless_told_not_to():
    study = study_of((4.0, 24.0, 96.0), noise=0.2)
    regions = regions_of(study)
    curves, scaled = fitted(study)
    _, free = fitted(study, "kinetics.preserve_total=false")
    for name, region in regions.items():
        wanted = curves.structures[name].tia_mbq_h * 1e6
        assert float(scaled.tia[region.index].astype(float) @ region.part_ml) == pytest.approx(wanted, rel=1e-5)
        assert float(free.tia[region.index].astype(float) @ region.part_ml) != pytest.approx(wanted, rel=1e-3)
    outside = halves().reshape(-1) == 0
    np.testing.assert_array_equal(free.tia[outside], scaled.tia[outside])


def test_structures_that_share_voxels_keep_both_totals():
    whole = Volume(sphere().astype(np.uint8), GRID, Quantity.LABELS)
    core = Volume((2 * sphere(9.0)).astype(np.uint8), GRID, Quantity.LABELS)
    base = study_of((4.0, 24.0, 96.0), noise=0.2)
    drawn = Structures((whole, core), {1: "liver", 2: "lesion"})
    points = tuple(TimePoint.of(tp.id, tp.time_h, tp.activity, tp.ct, drawn) for tp in base.timepoints)
    study = Study("P", "Lu-177", base.administration, "tp1", points)
    curves, fit = fitted(study, "kinetics.preserve_total=true")
    for name, region in regions_of(study).items():
        total = float(fit.tia[region.index].astype(float) @ region.part_ml)
        assert total == pytest.approx(curves.structures[name].tia_mbq_h * 1e6, rel=1e-5)


# Intervals, shared rates, a model for each voxel


def test_intervals_are_written_where_they_are_asked_for(tmp_path):
    """95 % of mono with known σ: nearly Ã ± 1.96 u(Ã), by the profile and by the bootstrap alike."""
    found = {}
    for kind in ("none", "profile", "bootstrap"):
        asked = "kinetics.model=mono", "kinetics.u_activity_percent=2", f"kinetics.intervals={kind}"
        run_patient(study_of((4.0, 24.0, 48.0, 96.0, 168.0), noise=0.02), tmp_path / kind, settings_of(*asked))
        found[kind] = json.loads((tmp_path / kind / "curves.json").read_text())["kidney_left"]
    page = {kind: (tmp_path / kind / "report.html").read_text() for kind in found}
    assert "intervals" not in found["none"]
    assert "95 % intervals" not in page["none"]
    kidney = found["profile"]
    for kind in ("profile", "bootstrap"):
        interval = found[kind]["intervals"]
        assert (interval["method"], interval["level"]) == (kind, 0.95)
        half = 1.96 * kidney["u_tia_mbq_h"]
        np.testing.assert_allclose(
            interval["tia_mbq_h"], [kidney["tia_mbq_h"] - half, kidney["tia_mbq_h"] + half], atol=0.15 * half
        )
        assert interval["teff_h"][0] < kidney["teff_h"] < interval["teff_h"][1]
        assert "Their 95 % intervals" in page[kind]
        assert "TIA, 95\N{NO-BREAK SPACE}%" in page[kind]
    assert set(kidney["intervals"]["parameters"]) == {"A1", "lambda1"}
    for name in ("metrics.csv", "tac.csv"):
        assert (tmp_path / "none" / name).read_text() == (tmp_path / "profile" / name).read_text()


def test_a_curve_that_is_no_fit_has_no_interval():
    liver = fitted(study_of(), "kinetics.model=trapezoid", "kinetics.intervals=profile")[0].structures["liver"]
    assert liver.fit.intervals is None


def test_structures_that_share_their_rates_have_one_half_life(tmp_path):
    """Two structures of one true half-life and 20 % noise: together they agree; their voxels stay free."""
    mono_everywhere = study_of((4.0, 24.0, 96.0))
    points = []
    for tp, factor in zip(mono_everywhere.timepoints, (1.2, 0.9, 1.1), strict=True):
        data = np.where(halves() == 1, mono(tp.time_h) * factor, np.where(halves() == 2, mono(tp.time_h), 0.0))
        volume = tp.activity.with_data(data.astype(np.float32))
        points.append(TimePoint.of(tp.id, tp.time_h, volume, tp.ct, tp.structures))
    study = Study("P", "Lu-177", mono_everywhere.administration, "tp1", tuple(points))
    asked = "kinetics.model=mono", "kinetics.u_activity_percent=10"
    shared = *asked, "kinetics.shared_rates=[[liver, kidney_left]]", "kinetics.intervals=profile"
    alone, voxels_alone = fitted(study, *asked)
    together, voxels = fitted(study, *shared)
    liver, kidney = (together.structures[name] for name in ("liver", "kidney_left"))
    assert liver.teff_h == pytest.approx(kidney.teff_h, rel=1e-9)
    low, high = sorted(curve.teff_h for curve in alone.structures.values())
    assert low < liver.teff_h < high
    assert liver.shared_with == ("kidney_left",)
    assert liver.fit.intervals is None
    assert u_of_curve_mbq(liver.fit, np.array([1.0])) is None
    assert kidney.fit.u_teff_h < alone.structures["kidney_left"].fit.u_teff_h
    ratio = [fit.tia[halves().reshape(-1) == 1].sum() for fit in (voxels, voxels_alone)]
    assert ratio[0] / ratio[1] == pytest.approx(liver.tia_mbq_h / alone.structures["liver"].tia_mbq_h, rel=1e-5)
    run_patient(study, tmp_path / "out", settings_of(*shared))
    assert json.loads((tmp_path / "out/curves.json").read_text())["liver"]["shared_rates_with"] == ["kidney_left"]
    assert "curves of liver and kidney_left had their rates in common" in (tmp_path / "out/report.html").read_text()


def test_every_voxel_can_have_a_model_of_its_own(tmp_path):
    """One structure of two kinds of voxels: AICc finds both, where the structure's one model fits neither."""
    results = run_patient(mixed_study(), tmp_path / "out", settings_of("kinetics.model=aicc_voxel"))
    left = np.arange(GRID.shape[0])[:, None, None] < GRID.shape[0] // 2
    status = results.maps.fit.status.reshape(GRID.shape)
    assert set(np.unique(status[sphere() & left])) == {FitStatus.BI}
    assert (status[sphere() & ~left] == FitStatus.MONO).mean() > 0.6
    np.testing.assert_allclose(results.maps.tia.data[sphere() & left], BI_TIA, rtol=0.02)
    page = (tmp_path / "out/report.html").read_text()
    assert "least corrected Akaike criterion in the voxel itself was fitted by least squares" in page


def mixed_study() -> Study:
    base, random = study_of((*HOURS, 240.0)), np.random.default_rng(3)
    labels = Structures((Volume(sphere().astype(np.uint8), GRID, Quantity.LABELS),), {1: "liver"})
    points = []
    for tp in base.timepoints:
        noise = 1.0 + 0.001 * random.normal(size=GRID.shape)
        volume = tp.activity.with_data((tp.activity.data * noise).astype(np.float32))
        points.append(TimePoint.of(tp.id, tp.time_h, volume, tp.ct, labels))
    return Study("P", "Lu-177", base.administration, "tp1", tuple(points))


# Bed positions


BEDS_H = np.repeat([0.0, 0.9], GRID.shape[2] // 2)  # far apart, so that a single time is visibly wrong


def test_each_slice_has_its_own_time(tmp_path):
    """Slices seen 54 minutes after the others while the liver empties: their own times give the true integral."""
    hours = (0.5, 2.5, 6.0, 24.0, 48.0, 96.0, 168.0)
    true_times = study_of(hours, slice_offsets_h=BEDS_H)
    points = tuple(TimePoint.of(tp.id, tp.time_h, tp.activity, tp.ct, tp.structures) for tp in true_times.timepoints)
    one_time = Study("P", "Lu-177", true_times.administration, "tp1", points)
    liver = halves() == 1
    late = liver & (np.arange(GRID.shape[2]) >= GRID.shape[2] // 2)
    own = run_patient(true_times, tmp_path / "own", settings_of("kinetics.model=bi"))
    same = run_patient(one_time, tmp_path / "same", settings_of("kinetics.model=bi"))
    assert own.maps.tia.data[liver] == pytest.approx(np.full(liver.sum(), BI_TIA), rel=2e-3)
    assert abs(same.maps.tia.data[late].mean() / BI_TIA - 1.0) > 0.015
    curve = own.structures[0].curve
    assert curve.times_h[0] == pytest.approx(0.5 + 0.43, abs=0.1)  # the mean of its slices, weighted by activity
    ml = own.structures[0].region.volume_ml
    assert curve.tia_mbq_h == pytest.approx(BI_TIA * ml * 1e-6, rel=5e-3)
    assert "slices were acquired one bed after the other" in (tmp_path / "own/report.html").read_text()


def test_a_rule_from_one_scan_uses_the_time_of_the_slice(tmp_path):
    run_patient(study_of((24.0,), slice_offsets_h=BEDS_H), tmp_path / "out", settings_of("kinetics.model=haenscheid"))
    assert "slices were acquired one bed after the other" in (tmp_path / "out/report.html").read_text()
    _, fit = fitted(study_of((24.0,), slice_offsets_h=BEDS_H), "kinetics.model=haenscheid")
    kidney = halves() == 2
    times_h = np.broadcast_to(24.0 + BEDS_H, GRID.shape)[kidney]
    np.testing.assert_allclose(fit.tia.reshape(GRID.shape)[kidney], 2 * times_h * mono(times_h) / np.log(2), rtol=1e-4)
    shared = voxels_from_one_scan("haenscheid", VoxelPoints(np.full((2, 1), 5.0), [24.0], LU_H))
    np.testing.assert_allclose(shared.tia, haenscheid([5.0, 5.0], 24.0), rtol=1e-5)


def test_slice_times_follow_the_scan_onto_the_reference():
    """A scan on a grid of its own, shifted by three slices: every voxel keeps the time of the slice that saw it."""
    base = study_of((4.0, 24.0))
    early, late = base.timepoints
    affine = np.array(GRID.affine)
    affine[:3, 3] = GRID.world(np.array([0.0, 0.0, 3.0]))
    moved = Grid(GRID.shape, affine)
    offsets_h = 0.1 * np.arange(GRID.shape[2])
    late = TimePoint.of("tp2", 24.0, late.activity.resampled_to(moved), late.ct.resampled_to(moved), None, offsets_h)
    study = Study("P", "Lu-177", base.administration, "tp1", (early, late))
    with Steps(1.0) as steps:
        frames = register_series(study, AS_LAID.registration, steps)
    for frame in (frames[1], overlay_series(study)[1]):
        seen = frame.inside
        assert seen[..., 4:].all()
        assert not seen[..., :3].any()
        expected = np.broadcast_to(0.1 * (np.arange(GRID.shape[2]) - 3.0), GRID.shape)
        np.testing.assert_allclose(frame.offset_h[seen], expected[seen], atol=1e-6)
    assert frames[0].offset_h is None
    curves = voxel_curves(frames, LU_H)
    undone = frames[1].activity.data * 2.0 ** (-frames[1].offset_h / LU_H)
    np.testing.assert_allclose(curves[:, 1][seen.reshape(-1)], undone[seen], rtol=1e-5)
    assert np.isnan(curves[:, 1][~seen.reshape(-1)]).all()


def test_a_scan_short_of_a_bed_drops_that_time_there_alone():
    """Missing field of view and times of their own together."""
    study = study_of((4.0, 24.0, 96.0), slice_offsets_h=BEDS_H)
    frames = list(overlay_series(study))
    inside = np.ones(GRID.shape, bool)
    inside[:, :, :5] = False
    frames[1] = Frame("tp2", 24.0, frames[1].activity, frames[1].total_mbq, inside, offset_h=frames[1].offset_h)
    regions, settings = regions_of(study), settings_of("kinetics.model=mono").kinetics
    curves = structure_curves(frames, regions, settings, LU_H)
    assert np.isnan(curves.structures["kidney_left"].activity_mbq[1])
    fit = fit_frames(frames, LU_H, settings, regions, curves).fit
    kidney = halves().reshape(-1) == 2
    assert fit.tia[kidney] == pytest.approx(np.full(kidney.sum(), MONO_TIA), rel=1e-4)
