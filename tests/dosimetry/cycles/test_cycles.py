"""Cycles of one patient: sums in closed form, uncertainties by cause, maps moved and added."""

import csv
import json
import math
import shutil

import nibabel
import numpy as np
import pytest
from support import small_study
from support.small_study import small_study_folder
from typer.testing import CliRunner

from dosimetry import run_patient
from dosimetry.config import load_settings
from dosimetry.cycles.adding import COMMON, add_cycles, u_of_sum
from dosimetry.cycles.limits import Limit, check_limits, read_limits
from dosimetry.cycles.run import accumulate
from dosimetry.cycles.values import CycleDose
from nufitdose.cli import app
from nufitdose.errors import InputError
from nufitdose.grid import Grid

FAST = ["registration.engine=rigid", "dose.engine=local", "kinetics.model=mono"]
SETTINGS = load_settings(None, FAST)
AB = 2.5


def cycle_dose(dose_gy, protraction=0.1, relative_u=None, alpha_beta_gy=AB, u_bed_gy=None):
    """A structure of uniform dose."""
    relative_u = relative_u or {"calibration": 0.05, "counting noise": 0.03}
    bed_gy = dose_gy + protraction * dose_gy**2 / alpha_beta_gy
    total = math.sqrt(sum(u**2 for u in relative_u.values()))
    by_dose = (dose_gy + 2 * protraction * dose_gy**2 / alpha_beta_gy) * total
    return CycleDose("organ", dose_gy, bed_gy, u_bed_gy or by_dose, dose_gy, alpha_beta_gy, relative_u)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_dose_and_bed_add_and_eqd2_is_that_of_the_sum():
    first, second = cycle_dose(6.0), cycle_dose(4.0)
    found = add_cycles({"cycle1": first, "cycle2": second})
    assert found.dose_mean_gy == 10.0
    assert found.bed_mean_gy == pytest.approx(10.0 + 0.1 * (36 + 16) / AB)
    assert found.eqd2_mean_gy == pytest.approx(found.bed_mean_gy / (1 + 2 / AB))
    assert found.missing == ()


def test_common_causes_add_linearly_and_own_ones_in_squares():
    equal = [(5.0, {"calibration": 0.04, "counting noise": 0.03})] * 4
    assert u_of_sum(equal) == pytest.approx(math.hypot(4 * 5 * 0.04, 2 * 5 * 0.03))
    assert "calibration" in COMMON
    assert u_of_sum([(5.0, {"counting noise": 0.03}), (-5.0, {"counting noise": 0.03})]) > 0
    found = add_cycles({"a": cycle_dose(6.0), "b": cycle_dose(4.0)})
    assert found.u_dose_mean_gy == pytest.approx(math.hypot(10 * 0.05, math.hypot(6, 4) * 0.03))


def test_the_error_of_bed_follows_the_dose_and_each_curve():
    """By differences: all doses larger by u of calibration; and the protraction's own part, independent."""
    only = {"calibration": 1e-4}
    a, b = cycle_dose(6.0, relative_u=only), cycle_dose(4.0, relative_u=only)
    found = add_cycles({"a": a, "b": b})
    up = sum(cycle_dose(d * (1 + 1e-4)).bed_mean_gy for d in (6.0, 4.0))
    assert found.u_bed_mean_gy == pytest.approx(up - found.bed_mean_gy, rel=1e-3)
    wide = [cycle_dose(6.0, relative_u=only, u_bed_gy=0.3), cycle_dose(4.0, relative_u=only, u_bed_gy=0.4)]
    assert add_cycles(dict(zip("ab", wide, strict=True))).u_bed_mean_gy == pytest.approx(0.5, rel=1e-4)


def test_what_a_cycle_lacks_has_no_sum_and_unlike_tissues_no_eqd2():
    found = add_cycles({"cycle1": cycle_dose(6.0), "cycle2": None})
    assert (found.cycles, found.missing) == (1, ("cycle2",))
    assert math.isnan(found.dose_mean_gy)
    other = add_cycles({"cycle1": cycle_dose(6.0), "cycle2": cycle_dose(6.0, alpha_beta_gy=10.0)})
    assert other.dose_mean_gy == 12.0
    assert math.isnan(other.eqd2_mean_gy)


def test_limits_are_read_and_shared():
    kidney, tumour = read_limits(["kidney.bed=40", "tumour_1.dose=100"])
    assert kidney == Limit("kidney", "bed", 40.0)
    assert kidney.applies_to("kidney_left", "organ")
    assert not kidney.applies_to("liver", "organ")
    assert not tumour.applies_to("tumour_2", "tumour")
    found = add_cycles({"a": cycle_dose(6.0), "b": cycle_dose(4.0)})
    share, u = Limit("liver", "dose", 20.0).share_percent(found)
    assert (share, u) == (50.0, pytest.approx(5 * found.u_dose_mean_gy))
    for wrong in ("kidney=40", "kidney.bed=", "kidney.bed=-1", "kidney.gy=3", "kidney.bed=inf"):
        with pytest.raises(InputError, match=r"STRUCTURE\.QUANTITY=GY"):
            read_limits([wrong])
    with pytest.raises(InputError, match="no cycle has"):
        check_limits([Limit("spleen", "bed", 1.0)], {"liver": "organ"})


@pytest.fixture(scope="module")
def cycles(tmp_path_factory):
    """Two cycles of one patient, who lies 10 mm further to the left in the second, which is a finished run."""
    place = tmp_path_factory.mktemp("cycles")
    first = small_study_folder(place / "first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_study, "GRID", Grid.from_spacing((12, 14, 10), (5.0, 5.0, 6.0), centre_mm=(0, -20, 300)))
        second = small_study_folder(place / "second", teff_h=40.0)
    run_patient(second, place / "second_results", SETTINGS, device="cpu")
    return first, place / "second_results"


@pytest.fixture(scope="module")
def added(cycles, tmp_path_factory):
    out = tmp_path_factory.mktemp("added") / "out"
    return out, accumulate(cycles, out, SETTINGS, read_limits(["liver.bed=50", "liver.eqd2=30"]), device="cpu")


def test_two_cycles_on_structures(cycles, added):
    out, sums = added
    one, two = (
        {row["structure"]: row for row in rows(place / "metrics.csv")} for place in (out / "cycles/cycle1", cycles[1])
    )
    for column in ("dose_mean_gy", "bed_mean_gy"):
        wanted = float(one["liver"][column]) + float(two["liver"][column])
        assert getattr(sums["liver"], column) == pytest.approx(wanted, rel=1e-5)
    table = [row for row in rows(out / "accumulated.csv") if row["structure"] == "liver"]
    assert [row["limit_quantity"] for row in table] == ["bed", "eqd2"]
    assert float(table[0]["share_percent"]) == pytest.approx(100 * sums["liver"].bed_mean_gy / 50, rel=1e-4)
    assert {(row["cycle"], row["structure"]) for row in rows(out / "cycles.csv")} >= {
        ("cycle1", "liver"),
        ("cycle2", "liver"),
    }
    assert (out / "accumulated.html").read_text().count("of 50.0 Gy BED") == 1
    assert json.loads((out / "run.json").read_text())["limits"][0]["structure"] == "liver"


def test_voxels_of_a_patient_who_moved_between_cycles_add_where_they_belong(cycles, added):
    """The second cycle is the first one moved as a whole: its voxels belong to those of the same index."""
    out, sums = added
    for name in ("dose", "bed"):
        total, *own = (
            np.asarray(nibabel.load(place / f"maps/{name}.nii.gz").dataobj)
            for place in (out, out / "cycles/cycle1", cycles[1])
        )
        both = np.isfinite(total) & np.isfinite(own[0] + own[1])
        assert both.sum() > 50
        wanted = (own[0] + own[1])[both]
        off = np.abs(total[both] - wanted).mean()
        assert off < 0.04 * wanted.max()  # what is left is interpolation at the edge of a sphere of 7 voxels
        if name == "dose":
            as_they_lie = own[0] + np.roll(own[1], 2, axis=0)  # 10 mm are two voxels
            assert off < 0.25 * np.abs(as_they_lie[both] - wanted).mean()
    table = next(row for row in rows(out / "accumulated.csv") if row["structure"] == "liver")
    assert float(table["dose_mean_voxels_gy"]) == pytest.approx(sums["liver"].dose_mean_gy, rel=0.03)
    assert [row["timepoint"] for row in rows(out / "registration.csv")] == ["cycle2"]


def test_cycles_that_are_done_are_kept(cycles, added, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(added[0], out)
    written = (out / "cycles/cycle1/run.json").stat().st_mtime_ns
    chosen = [part for text in FAST for part in ("--set", text)]
    command = ["accumulate", *map(str, cycles), "--out", str(out), "--no-voxels", "--device", "cpu", *chosen]
    run = CliRunner().invoke(app, command)
    assert run.exit_code == 0, run.output
    assert "liver" in run.stdout
    assert (out / "cycles/cycle1/run.json").stat().st_mtime_ns == written


def test_what_is_no_second_cycle_is_refused(cycles, tmp_path):
    first, results = cycles
    with pytest.raises(InputError, match="at least two"):
        accumulate([first], tmp_path / "x", SETTINGS)
    with pytest.raises(InputError, match="the same study"):
        accumulate([results, results], tmp_path / "x", SETTINGS, device="cpu")
    with pytest.raises(InputError, match="neither a study"):
        accumulate([first, tmp_path], tmp_path / "y", SETTINGS)
    other = tmp_path / "other"
    shutil.copytree(results, other)
    (other / "run.json").write_text((other / "run.json").read_text().replace('"P7"', '"P8"'))
    with pytest.raises(InputError, match="several patients: P7, P8"):
        accumulate([results, other], tmp_path / "z", SETTINGS, device="cpu", voxels=False)
