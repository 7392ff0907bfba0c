"""Digital patients: conservation of activity and volume, exact kinetics, honest fields, plausible bodies."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate
from support.quiet_scans import quiet_imager

from nufitdose import kinetics
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.nuclides import half_life_h
from nufitdose.phantom import PatientSettings, simulate_patient
from nufitdose.phantom.anatomy import build_anatomy
from nufitdose.phantom.build import ORGAN_DENSITY_G_ML, REFERENCE_MASS_G, draw_build
from nufitdose.phantom.fields import jacobian_determinant
from nufitdose.phantom.motion import MotionSize
from nufitdose.phantom.tracer import distribute, find_tracer

TIMES_H = (4.0, 24.0, 96.0)


@pytest.fixture(scope="module")
def patient():
    return simulate_patient(PatientSettings(shape=(44, 44, 44), spacing_mm=7.5, seed=7, times_h=TIMES_H, tumours=4))


@pytest.fixture(scope="module")
def abdomen():
    """An abdomen wholly inside the field of view: nothing but its organs takes up the tracer."""
    random = np.random.default_rng(3)
    body = draw_build(random, sex="male", arms="up")
    grid = Grid.from_spacing((64, 56, 64), (5.0, 5.0, 5.0), centre_mm=(0.0, 0.0, 20.0))
    box = (np.array([-100.0, -60.0, -60.0]), np.array([120.0, 60.0, 100.0]))
    anatomy = build_anatomy(body, random, random, inside_mm=box, tumour_sites=("liver", "node"))
    distribution = distribute(find_tracer("Lu-177"), anatomy.compartments, random, 7400.0)
    inside = ("liver", "spleen", "kidney_left", "kidney_right", "pancreas", "tumour_1", "tumour_2")
    own = np.array([compartment.structure in inside for compartment in anatomy.compartments])
    distribution = replace(distribution, amplitudes=distribution.amplitudes * own[:, None])
    return quiet_imager(anatomy, distribution, grid)


def total_mbq(activity, grid):
    return float(activity.sum(dtype=np.float64)) * grid.voxel_volume_ml * 1e-6


def test_motion_neither_makes_nor_destroys_activity(abdomen):
    """Total true activity follows the kinetics within 0.1 %, in every pose."""
    for number, time_h in enumerate((4.0, 30.0, 100.0, 160.0)):
        at_rest = total_mbq(abdomen.distribution.activity(abdomen.rest, time_h), abdomen.protocol.padded)
        _, truth = abdomen.scan(number, time_h)
        assert total_mbq(truth.activity, truth.grid) == pytest.approx(at_rest, rel=1e-3)


def test_sampling_alone_misses_little_of_an_organ(abdomen):
    """Before it is corrected: 0.5 % of an organ, 5 % of a small tumour."""
    grid = abdomen.protocol.padded
    pull = abdomen.mover.draw(np.random.default_rng(5), MotionSize()).inverse_field(grid)
    moved, jacobian = abdomen.anatomy.compose(grid, pull), jacobian_determinant(pull, grid)
    parts = [part * jacobian for part in abdomen.distribution.by_slot(moved, 24.0, pull)]
    factors = abdomen.sampling_correction(moved, parts, 24.0)
    corrected = 0
    for factor, compartment in zip(factors, abdomen.anatomy.compartments, strict=True):
        tolerance = 0.005 if compartment.structure in ("liver", "spleen") else 0.05
        assert factor == pytest.approx(1.0, abs=tolerance), compartment.name
        corrected += factor != 1.0
    assert corrected > 5


def test_labels_change_volume_as_the_jacobian_says(abdomen):
    """V' = ∫ det(∂y/∂x) dx over the organ at rest, with the volume counted in the moved pose."""
    grid, anatomy = abdomen.protocol.padded, abdomen.anatomy
    pose = abdomen.mover.draw(np.random.default_rng(11), MotionSize())
    jacobian = jacobian_determinant(pose.field(grid), grid)
    moved = anatomy.compose(grid, pose.inverse_field(grid)).volumes_ml(len(anatomy.compartments))
    for organ in ("liver", "spleen", "kidney_left", "kidney_right"):
        numbers = [n for n, compartment in enumerate(anatomy.compartments) if compartment.structure == organ]
        share = np.where(np.isin(abdomen.rest.compartments, numbers), abdomen.rest.shares, 0.0).sum(axis=0)
        expected = float((share * jacobian).sum(dtype=np.float64)) * grid.voxel_volume_ml
        assert moved[numbers].sum() == pytest.approx(expected, rel=5e-3)


def test_without_spread_every_organ_has_the_sum_of_exponentials_of_its_compartments(abdomen):
    even = replace(abdomen.distribution, spreads=np.zeros_like(abdomen.distribution.spreads))
    volumes = abdomen.rest.volumes_ml(len(abdomen.anatomy.compartments))
    rates = even.biological_rates + even.decay_per_h
    for time_h in (0.0, 3.0, 50.0):
        expected = volumes @ kinetics.value(even.amplitudes, rates, np.array([time_h]))[:, 0] * 1e-6
        total = total_mbq(even.activity(abdomen.rest, time_h), abdomen.protocol.padded)
        assert total == pytest.approx(expected, rel=1e-5, abs=1e-9)
    tia, _ = even.integral(abdomen.rest)
    expected = volumes @ kinetics.integral(even.amplitudes, rates) * 1e-6
    assert total_mbq(tia, abdomen.protocol.padded) == pytest.approx(expected, rel=1e-5)


def test_the_time_integral_is_that_of_the_curve_voxel_by_voxel(abdomen):
    """Numerical quadrature of the voxel curves, heterogeneity and all, against the closed form."""
    times = np.concatenate([np.linspace(0, 4, 41), np.geomspace(4.2, 1500, 90)])
    curve = np.stack([abdomen.distribution.activity(abdomen.rest, float(t))[20:24, 20:40, 30:34] for t in times])
    tia, half_life = (v[20:24, 20:40, 30:34] for v in abdomen.distribution.integral(abdomen.rest))
    assert integrate.simpson(curve, x=times, axis=0) == pytest.approx(tia, rel=4e-3, abs=1.0)
    assert tia.max() > 1e5
    early, late = (abdomen.distribution.activity(abdomen.rest, t)[20:24, 20:40, 30:34] for t in (300.0, 400.0))
    pure = (abdomen.rest.shares[0][20:24, 20:40, 30:34] > 0.999) & (tia > 1e3)
    assert 100.0 / np.log2(early[pure] / late[pure]) == pytest.approx(half_life[pure], rel=0.01)


def test_fields_lead_from_the_reference_to_the_scan_and_back_within_a_fifth_of_a_voxel(patient):
    for truth in patient.truth.timepoints:
        grid = truth.grid
        points = grid.world(np.argwhere(np.ones(grid.shape, dtype=bool)).astype(np.float64))
        there = points + truth.field.reshape(3, -1).T
        assert truth.pose.move(points) == pytest.approx(there, abs=2e-3)
        inside = grid.contains(there)
        index = grid.index(there[inside]).T
        from scipy.ndimage import map_coordinates

        back = there[inside] + np.stack([map_coordinates(c, index, order=1, mode="nearest") for c in truth.inverse]).T
        error = np.linalg.norm(back - points[inside], axis=1)
        assert np.percentile(error, 99) < 0.2 * grid.spacing_mm[0]
        assert jacobian_determinant(truth.field, grid).min() > 0.05
        assert jacobian_determinant(truth.inverse, grid).min() > 0.05


def test_the_reference_is_at_rest_and_the_others_move_by_what_the_literature_reports(patient):
    labels, names = patient.truth.labels.data, {name: label for label, name in patient.truth.names.items()}
    assert not patient.truth.timepoint("tp1").field.any()
    for name in ("tp2", "tp3"):
        field = patient.truth.timepoint(name).field
        for organ in ("liver", "kidney_left", "kidney_right", "spleen"):
            shift = np.linalg.norm(field[:, labels == names[organ]].mean(axis=1))
            assert 1.0 < shift < 60.0


def test_bones_move_nearly_as_rigid_bodies():
    """A rigid fit to each vertebra leaves less than 1.6 mm rms; breathing moves the liver against them."""
    truth = simulate_patient(PatientSettings(shape=(56, 40, 48), spacing_mm=6.0, seed=2, times_h=(4.0, 24.0))).truth
    bones = truth.labels.data == next(label for label, name in truth.names.items() if name == "vertebrae")
    points = truth.labels.grid.world(np.argwhere(bones).astype(np.float64))
    moved = truth.timepoint("tp2").pose.move(points)
    for low in np.arange(points[:, 2].min(), points[:, 2].max() - 30, 30.0):
        piece = (points[:, 2] >= low) & (points[:, 2] < low + 30)
        a, b = points[piece] - points[piece].mean(0), moved[piece] - moved[piece].mean(0)
        u, _, vt = np.linalg.svd(a.T @ b)
        assert np.sqrt(((a @ u @ vt - b) ** 2).sum(1).mean()) < 1.6


def test_the_same_arguments_make_the_same_patient_and_another_seed_another():
    kwargs = {"shape": (24, 24, 24), "spacing_mm": 10.0, "times_h": (4.0, 30.0)}
    one, same, other = (simulate_patient(PatientSettings(seed=s, **kwargs)) for s in (5, 5, 6))
    for tp, twin, stranger in zip(one.study.timepoints, same.study.timepoints, other.study.timepoints, strict=True):
        assert np.array_equal(tp.activity.data, twin.activity.data)
        assert np.array_equal(tp.ct.data, twin.ct.data)
        assert not np.array_equal(tp.ct.data, stranger.ct.data)


def test_two_tracers_see_the_same_body_and_tumours():
    kwargs = {"seed": 4, "shape": (32, 32, 32), "spacing_mm": 9.0, "centre_z_mm": 20.0, "noise": False}
    sites = ("liver", "bone", "node")
    therapy = simulate_patient(PatientSettings(tracer="Lu-177-PSMA", tumour_sites=sites, times_h=(24.0,), **kwargs))
    pet = simulate_patient(PatientSettings(tracer="Ga-68-PSMA", tumour_sites=sites, times_h=(1.0,), **kwargs))
    assert np.array_equal(therapy.truth.labels.data, pet.truth.labels.data)
    assert therapy.study.nuclide == "Lu-177"
    assert pet.study.nuclide == "Ga-68"


@pytest.mark.parametrize("tracer", ["I-131", "Y-90", "F-18", "Lu-177-PSMA", "Ga-68-PSMA"])
def test_every_tracer_gives_a_study_whose_half_lives_do_not_exceed_the_physical_one(tracer):
    made = simulate_patient(PatientSettings(tracer=tracer, shape=(32, 32, 32), spacing_mm=11.0, seed=2, tumours=3))
    teff = made.truth.effective_half_life.data
    assert teff.max() <= half_life_h(made.study.nuclide) * (1 + 1e-5)
    retained = sum(o.tiac_h for o in made.truth.organs) / (half_life_h(made.study.nuclide) / np.log(2))
    assert 0.0 < retained < 1.0  # no more decays than were administered
    assert made.truth.tumours


def test_activity_coefficients_of_lu_dotatate_are_within_published_ranges():
    """Kidneys 0.4-1.2 Gy/GBq and T_eff 40-65 h, spleen and liver T_eff 55-95 h (Staanum 2021, Hänscheid 2018)."""
    made = [
        simulate_patient(PatientSettings(shape=(48, 40, 40), spacing_mm=8.0, seed=s, times_h=(24.0,), noise=False))
        for s in range(6)
    ]
    rows = [{o.structure: o for o in p.truth.organs} for p in made]
    kidney_gy_per_gbq = [
        1e3 * 0.0853 * r["kidney_left"].tiac_h / (r["kidney_left"].volume_ml * ORGAN_DENSITY_G_ML) for r in rows
    ]
    assert 0.4 < np.mean(kidney_gy_per_gbq) < 1.2
    assert 40 < np.mean([r["kidney_left"].teff_h for r in rows]) < 65
    assert 55 < np.mean([r["liver"].teff_h for r in rows]) < 95
    assert 55 < np.mean([r["spleen"].teff_h for r in rows]) < 95


@pytest.mark.slow
def test_organ_masses_scatter_around_the_reference_masses():
    """Mean over patients within 12 % of ICRP 89, male and female apart."""
    whole = Grid.from_spacing((66, 46, 76), (6.0, 6.0, 6.0), centre_mm=(0.0, 0.0, 30.0))
    box = (np.full(3, -100.0), np.full(3, 100.0))
    for column, sex in enumerate(("male", "female")):
        masses: dict[str, list[float]] = {organ: [] for organ in ("liver", "spleen", "kidneys", "pancreas", "heart")}
        for seed in range(14):
            random = np.random.default_rng([column, seed])
            anatomy = build_anatomy(draw_build(random, sex=sex), random, random, inside_mm=box)
            volumes = anatomy.compose(whole, subsamples=1).volumes_ml(len(anatomy.compartments))
            for organ, found in masses.items():
                own = [n for n, r in enumerate(anatomy.compartments) if r.structure.startswith(organ.removesuffix("s"))]
                found.append(volumes[own].sum() * ORGAN_DENSITY_G_ML)
        for organ, found in masses.items():
            assert np.mean(found) == pytest.approx(REFERENCE_MASS_G[organ][column], rel=0.15), (sex, organ)
            assert np.std(found) > 0.05 * np.mean(found)


def test_the_ct_shows_the_tissues(patient):
    ct, labels = patient.truth.ct.data, patient.truth.labels.data
    names = {name: label for label, name in patient.truth.names.items()}
    assert np.median(ct[labels == names["liver"]]) == pytest.approx(58, abs=60)
    assert np.median(ct[labels == names["lung_right"]]) == pytest.approx(-790, abs=40)
    assert np.median(ct[labels == 0]) < -80  # air and fat
    assert ct.min() >= -1025
    noisy = patient.study.reference.ct.resampled_to(patient.truth.ct.grid).data
    assert noisy[labels == names["liver"]].mean() == pytest.approx(ct[labels == names["liver"]].mean(), abs=5)


def test_ct_in_another_breathing_phase_moves_the_ct_and_spoils_attenuation_correction_only():
    kwargs = {"shape": (32, 32, 32), "spacing_mm": 10.0, "seed": 3, "times_h": (24.0, 48.0), "noise": False}
    plain, phased = (
        simulate_patient(PatientSettings(**kwargs)),
        simulate_patient(PatientSettings(ct_breathing_mm=12.0, **kwargs)),
    )
    assert np.array_equal(plain.truth.timepoint("tp2").field, phased.truth.timepoint("tp2").field)
    assert np.array_equal(plain.truth.tia.data, phased.truth.tia.data)
    for a, b in zip(plain.study.timepoints, phased.study.timepoints, strict=True):
        assert np.abs(a.ct.data - b.ct.data).max() > 300  # the diaphragm
        ratio = b.activity.total_mbq() / a.activity.total_mbq()
        assert 0.9 < ratio < 1.1
        assert not np.array_equal(a.activity.data, b.activity.data)


def test_a_truncated_ct_is_empty_outside_its_circle():
    made = simulate_patient(
        PatientSettings(shape=(40, 40, 20), spacing_mm=10.0, seed=3, times_h=(24.0,), ct_field_mm=250.0)
    )
    ct = made.study.reference.ct
    assert (ct.data[0, 0] == -1024).all()
    assert (ct.data == -1024).mean() > 0.5


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"tracer": "Xx-99"}, "unknown"),
        ({"tracer": "Tb-161"}, "no kinetics"),
        ({"times_h": (4.0, 4.0)}, "times"),
        ({"times_h": (-1.0,)}, "times"),
        ({"times_h": ()}, "times"),
        ({"times_h": (float("nan"),)}, "times"),
        ({"shape": (96, 96)}, "shape"),
        ({"shape": (2, 96, 96)}, "shape"),
        ({"spacing_mm": 0.0}, "spacing"),
        ({"ct_spacing_mm": float("inf")}, "CT spacing"),
        ({"seed": -1}, "seed"),
        ({"tumours": 13}, "tumours"),
        ({"tumour_sites": ("toe",)}, "toe"),
        ({"tumour_mm": (0.0, 10.0)}, "diameter"),
        ({"motion": 9.0}, "motion"),
        ({"count_level": 0.0}, "count"),
        ({"administered_mbq": -5.0}, "administered"),
    ],
)
def test_nonsense_is_refused_in_words(wrong, word):
    with pytest.raises(InputError, match=word):
        simulate_patient(PatientSettings(**wrong))
