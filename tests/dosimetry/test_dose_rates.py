"""Dose rate first: the engine at every scan, then curves; without noise the same dose as by the usual order."""

from dataclasses import replace

import numpy as np
import pytest
from support.small_study import GRID, small_study, sphere

from dosimetry import run_patient
from dosimetry.config import load_settings
from dosimetry.dose import AbsorbedDose
from dosimetry.dose_rates import DoseRates, dose_rates
from dosimetry.pipeline import analyse
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.progress import Steps
from nufitdose.registration.series import Frame
from nufitdose.study import Structures, TimePoint
from nufitdose.volume import Quantity, Volume

FAST, SLOW = slice(0, 6), slice(6, None)  # halves of the warm sphere along i
ORDERS = ("activity_first", "dose_rate_first")
TEFF_H = {"spleen": 30.0, "liver": 90.0}


def two_organs(nuclide):
    """Halves of a sphere that decay at rates of their own: a voxel's dose rate is then no single exponential."""
    study, hot = small_study((4.0, 24.0, 72.0, 160.0)), sphere(24.0)
    labels = np.zeros(GRID.shape, np.uint8)
    labels[FAST], labels[SLOW] = 1, 2
    labels[~hot] = 0
    drawn = Structures((Volume(labels, GRID, Quantity.LABELS),), {1: "spleen", 2: "liver"})
    points = []
    for point in study.timepoints:
        activity = np.zeros(GRID.shape, np.float32)
        for label, teff_h in enumerate(TEFF_H.values(), start=1):
            activity[labels == label] = 2e5 * 2 ** (-point.time_h / teff_h)
        scan = Volume(activity, GRID, Quantity.ACTIVITY)
        points.append(TimePoint.of(point.id, point.time_h, scan, point.ct, None if points else drawn))
    return replace(study, nuclide=nuclide, timepoints=tuple(points))


def settings_of(order, *overrides):
    return load_settings(None, ["registration.engine=none", f"dose.order={order}", *overrides])


def test_by_kernels_both_orders_give_the_same_doses():
    """Two rates meet in every voxel, that of its organ and that of its neighbour; curves are those of the default.

    Where no activity is, the noise of the body effect is left, which is drawn for every scan.
    """
    usual, rates = (analyse(two_organs("I-131"), settings_of(order), Steps(1.0, None)) for order in ORDERS)
    for one, other in zip(usual.structures, rates.structures, strict=True):
        assert other.dose["dose_mean_gy"] == pytest.approx(one.dose["dose_mean_gy"], rel=1e-3)
        assert other.tia_mbq_h == one.tia_mbq_h
    warm, dosed = sphere(24.0), usual.maps.dose.data > 0.0
    ratio = np.divide(rates.maps.dose.data, usual.maps.dose.data, out=np.ones(GRID.shape, np.float32), where=dosed)
    assert abs(ratio[warm] - 1.0).max() < 3e-3
    assert abs(ratio - 1.0).max() < 0.05
    assert ratio[dosed & ~warm].mean() == pytest.approx(1.0, abs=3e-3)
    assert not np.array_equal(rates.maps.dose.data, usual.maps.dose.data)  # two computations, not one
    left = [found.maps.absorbed.left_the_field for found in (usual, rates)]
    assert left[1] == pytest.approx(left[0], abs=0.01)


def test_amounts_are_found_whatever_the_noise_of_the_activities_and_one_scan_tells_their_sum():
    """Rates that are 3 q + 0.5 p exactly; in a voxel without charged dose p alone; no rate, no dose."""
    random = np.random.default_rng(4)
    q, p = (
        random.normal(1.0, 1.0, (3, 4, 4, 4)).astype(np.float32),
        random.uniform(1, 2, (3, 4, 4, 4)).astype(np.float32),
    )
    q[:, 0, 0, 0], q[:, 1, 1, 1], p[:, 1, 1, 1] = 0.0, 0.0, 0.0
    grid = Grid.from_spacing((4, 4, 4), (5.0, 5.0, 5.0))
    tia = Volume(np.ones(grid.shape, np.float32), grid, Quantity.TIA)

    def integrated(scans):
        frames = [Frame(f"tp{n}", float(n), tia.with_data(tia.data * n, Quantity.ACTIVITY), 1.0) for n in scans]
        rates = tuple(tia.with_data(3.0 * q[n] + 0.5 * p[n], Quantity.DOSE_RATE) for n in scans)

        def parts_of(volume):  # what is asked for the integral is that of scan 0
            number = int(volume.data[0, 0, 0]) if volume is not tia else 0
            return q[number], p[number]

        return DoseRates(rates, None, None, None).integrate(frames, tia, tia, parts_of).dose.data

    expected = 3.0 * q[0] + 0.5 * p[0]
    positive = expected > 0.0
    off = integrated([0, 1, 2])[positive] / expected[positive] - 1.0  # drawn to u = v where q and p go alike
    assert np.sqrt(np.mean(off**2)) < 0.02
    np.testing.assert_allclose(integrated([0])[positive & (q[0] >= 0.0)], expected[positive & (q[0] >= 0.0)], rtol=1e-4)
    assert integrated([0, 1, 2])[1, 1, 1] == 0.0


def test_where_nothing_leaves_its_voxel_the_orders_are_one(tmp_path):
    """By local deposition a dose rate is an activity times a constant, and so are its integral and its error."""
    usual, rates = (
        run_patient(two_organs("Lu-177"), tmp_path / order, settings_of(order, "dose.engine=local")) for order in ORDERS
    )
    np.testing.assert_allclose(rates.maps.dose.data, usual.maps.dose.data, rtol=1e-5)
    np.testing.assert_allclose(rates.maps.u_dose.data, usual.maps.u_dose.data, rtol=1e-4)
    names = [{p.relative_to(tmp_path / order) for p in (tmp_path / order).rglob("*")} for order in ORDERS]
    assert names[0] == names[1]
    columns = [(tmp_path / order / "metrics.csv").read_text().splitlines()[0] for order in ORDERS]
    assert columns[0] == columns[1]
    report = (tmp_path / "dose_rate_first/report.html").read_text()
    assert "dose rate at each scan" in report
    assert "dose rate at each scan" not in (tmp_path / "activity_first/report.html").read_text()


def test_errors_of_an_engine_that_draws_are_carried_on():
    """Two scans of equal rates, each known to 3 %: independent errors, so 3 %/√2 of the integral."""
    one = Volume(np.ones(GRID.shape, np.float32), GRID, Quantity.ACTIVITY)
    frames = [Frame(f"tp{n}", 4.0 * n, one, 1.0) for n in (1, 2)]

    def engine(hour, scan):
        dose = hour.with_data(hour.data, Quantity.DOSE)
        return AbsorbedDose(dose, dose.with_data(0.03 * dose.data), 0.1 * (scan + 1), 1.0 + scan)

    found = dose_rates(frames, engine)
    np.testing.assert_allclose(found.relative_u, 0.03 / np.sqrt(2), rtol=1e-5)
    assert found.left_the_field == pytest.approx(0.15)
    assert found.statistical_percent == 2.0
    assert {rate.quantity for rate in found.rates} == {Quantity.DOSE_RATE}


def test_an_unknown_order_is_refused():
    with pytest.raises(InputError, match=r"dose\.order"):
        load_settings(None, ["dose.order=rates"])
