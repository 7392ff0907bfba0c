"""A scanner's description: the recovery curve's derivatives, what is refused, and the study folder it travels in."""

import datetime
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.study_folder import load_study, read_scanner, save_study, study_files, write_scanner
from nufitdose.scanner import Calibration, RecoveryCurve, ResolutionAtDepth, Scanner
from nufitdose.study import Administration, Study, TimePoint
from nufitdose.volume import Quantity, Volume

_CURVE = RecoveryCurve(4.0, 0.9, ((0.04, -0.002), (-0.002, 0.0009)))
_SCANNER = Scanner(
    "SPECT A",
    (12.0, 12.0, 11.0),
    _CURVE,
    Calibration(factor=1.05, u_percent=3.0, date=datetime.date(2024, 3, 1), u_cross_calibration_percent=4.0),
)


def _by_depth(shallow_mm, shallow_fwhm, deep_mm, deep_fwhm):
    """A scanner of 11 mm for all depths."""
    at = [ResolutionAtDepth(mm, (fwhm,) * 3) for mm, fwhm in ((shallow_mm, shallow_fwhm), (deep_mm, deep_fwhm))]
    return Scanner("B", (11.0, 11.0, 11.0), by_depth=(at[0], at[1]))


@given(volume=st.floats(0.05, 2000.0), beta1=st.floats(0.1, 50.0), beta2=st.floats(0.3, 2.0))
def test_the_slope_is_the_derivative_of_recovery(volume, beta1, beta2):
    curve, step = RecoveryCurve(beta1, beta2, ((0.0, 0.0), (0.0, 0.0))), 1e-5 * volume
    assert curve.value(volume) == pytest.approx(1.0 - 1.0 / (1.0 + (volume / beta1) ** beta2), rel=1e-12)
    numeric = (curve.value(volume + step) - curve.value(volume - step)) / (2.0 * step)
    assert curve.slope_per_ml(volume) == pytest.approx(numeric, rel=1e-4, abs=1e-12)


def test_half_of_the_activity_is_recovered_at_beta1():
    assert _CURVE.value(4.0) == 0.5


def test_the_uncertainty_of_recovery_is_the_spread_of_curves_drawn_from_the_covariance():
    random = np.random.default_rng(3)
    drawn = random.multivariate_normal((_CURVE.beta1_ml, _CURVE.beta2), _CURVE.covariance, size=20_000)
    for volume in (0.5, 4.0, 30.0):
        values = 1.0 - 1.0 / (1.0 + (volume / drawn[:, 0]) ** drawn[:, 1])
        assert _CURVE.u(volume) == pytest.approx(values.std(), rel=0.03)


def test_the_parts_of_a_calibration_add_in_squares():
    assert _SCANNER.calibration is not None
    assert _SCANNER.calibration.relative_u == pytest.approx(0.05)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RecoveryCurve(0.0, 1.0, ((0, 0), (0, 0))),
        lambda: RecoveryCurve(1.0, math.nan, ((0, 0), (0, 0))),
        lambda: RecoveryCurve(1.0, 1.0, ((1.0, 2.0), (2.0, 1.0))),
        lambda: RecoveryCurve(1.0, 1.0, ((1.0, 0.1), (0.3, 1.0))),
        lambda: Calibration(factor=-1.0, u_percent=3.0),
        lambda: Calibration(u_percent=-3.0),
        lambda: Scanner("x", (12.0, 0.0, 12.0)),
        lambda: Scanner("x", (0.012, math.inf, 12.0)),
        lambda: _CURVE.value(0.0),
        lambda: ResolutionAtDepth(-1.0, (9.0, 9.0, 9.0)),
        lambda: ResolutionAtDepth(math.inf, (9.0, 9.0, 9.0)),
        lambda: ResolutionAtDepth(10.0, (9.0, 90.0, 9.0)),
        lambda: _by_depth(100.0, 9.0, 0.0, 12.0),
        lambda: _by_depth(50.0, 9.0, 55.0, 12.0),
        lambda: _by_depth(0.0, 12.0, 100.0, 9.0),
        lambda: _by_depth(0.0, 9.0, 100.0, 10.0),
        lambda: Scanner("x", (12.0, 12.0, 12.0), u_fwhm_percent=-1.0),
        lambda: Scanner("x", (12.0, 12.0, 12.0), u_fwhm_percent=math.nan),
    ],
)
def test_what_cannot_be_is_refused(make):
    with pytest.raises(InputError, match=r"wanted|negative variance"):
        make()


def _study(scanner: Scanner | None = None) -> Study:
    grid = Grid.from_spacing((4, 4, 4), (4.0, 4.0, 4.0))
    activity = Volume(np.arange(64, dtype=np.float32).reshape(4, 4, 4), grid, Quantity.ACTIVITY)
    return Study("p", "Lu-177", Administration(7400.0), "tp1", (TimePoint.of("tp1", 4.0, activity),), scanner=scanner)


def test_the_factor_is_applied_on_reading_once(tmp_path):
    save_study(_study(), tmp_path / "a")
    write_scanner(_SCANNER, tmp_path / "a/scanner.yaml")
    manifest = tmp_path / "a/study.yaml"
    manifest.write_text(manifest.read_text() + "scanner: scanner.yaml\n")
    read = load_study(tmp_path / "a")
    assert read.scanner == _SCANNER
    assert tmp_path / "a/scanner.yaml" in study_files(tmp_path / "a")
    plain = _study().reference.activity.data
    np.testing.assert_allclose(read.reference.activity.data, 1.05 * plain, rtol=1e-6)
    save_study(read, tmp_path / "b")
    again = load_study(tmp_path / "b")
    np.testing.assert_allclose(again.reference.activity.data, 1.05 * plain, rtol=1e-6)
    assert again.scanner == _SCANNER.with_factor_applied()
    assert "1.05" in again.statements[0]


@pytest.mark.parametrize(
    "scanner", [_SCANNER, _by_depth(15.0, 9.5, 110.0, 12.5), Scanner("C", (9.0, 9.0, 9.0), u_fwhm_percent=2.5)]
)
def test_a_scanner_file_is_read_as_written(tmp_path, scanner):
    assert read_scanner(write_scanner(scanner, tmp_path / "s.yaml")) == scanner


def test_two_depths_are_two_lines_of_a_file(tmp_path):
    deep = "- {depth_mm: 110, fwhm_mm: [12.5, 12.5, 12.5]}"
    text = f"name: B\nfwhm_mm: 11\nby_depth:\n- {{depth_mm: 15, fwhm_mm: 9.5}}\n{deep}\n"
    (tmp_path / "s.yaml").write_text(text)
    assert read_scanner(tmp_path / "s.yaml") == _by_depth(15.0, 9.5, 110.0, 12.5)


def test_one_number_stands_for_three_axes(tmp_path):
    (tmp_path / "s.yaml").write_text("name: A\nfwhm_mm: 12.5\n")
    assert read_scanner(tmp_path / "s.yaml") == Scanner("A", (12.5, 12.5, 12.5))


@pytest.mark.parametrize(
    "text",
    [
        "name: A\n",
        "name: A\nfwhm_mm: [12, 12]\n",
        "name: A\nfwhm_mm: 12\nrecovery: {beta1_ml: -1, beta2: 1, covariance: [[0, 0], [0, 0]]}\n",
        "name: A\nfwhm_mm: 12\ncalibration: {factor: 1, date: '2024-03-01'}\n",
        "name: A\nfwhm_mm: 12\nfwhm: 3\n",
        "name: A\nfwhm_mm: 12\nby_depth: [{depth_mm: 0, fwhm_mm: 9}]\n",
        "name: A\nfwhm_mm: 12\nby_depth: [{depth_mm: 0, fwhm_mm: 9}, {depth_mm: 5, fwhm_mm: 13}]\n",
    ],
)
def test_a_bad_scanner_file_is_named(tmp_path, text):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InputError, match=r"s\.yaml"):
        read_scanner(tmp_path / "s.yaml")
