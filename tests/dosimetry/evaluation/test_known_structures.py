"""Judging engines on a study without truth, by a sphere that is drawn on two scans and moved between them."""

import csv
import json

import numpy as np
import pytest
from support.small_study import GRID, sphere
from typer.testing import CliRunner

from dosimetry.evaluation.known_structures import evaluate_study
from dosimetry.evaluation.methods import methods_of
from nufitdose.cli import app
from nufitdose.errors import InputError
from nufitdose.io.study_folder import save_study
from nufitdose.study import Administration, Structures, Study, TimePoint
from nufitdose.volume import Quantity, Volume

SHIFT_VOXELS = 2  # along x, of 5 mm
LATER = 0.7  # activity of the second scan over that of the first


def scan(name, hour, moved, drawn=True):
    hot = np.roll(sphere(), moved, axis=0)
    activity = np.where(hot, 2e5 if hour < 10 else LATER * 2e5, 0.0).astype(np.float32)
    hu = np.where(np.roll(sphere(25.0), moved, axis=0), 40.0, -1000.0).astype(np.float32)
    labels = Structures((Volume(hot.astype(np.uint8), GRID, Quantity.LABELS),), {1: "liver"})
    return TimePoint.of(
        name, hour, Volume(activity, GRID, Quantity.ACTIVITY), Volume(hu, GRID, Quantity.HU), labels if drawn else None
    )


def folder(place, **how):
    place.mkdir()
    scans = (scan("tp1", 4.0, 0), scan("tp2", 24.0, SHIFT_VOXELS, **how))
    save_study(Study("P8", "Lu-177", Administration(7400.0), "tp1", scans), place)
    return place


def call(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments), "--device", "cpu"])


def test_what_is_left_of_a_known_shift_and_the_activity_it_costs(tmp_path):
    out = tmp_path / "out"
    done = call(folder(tmp_path / "study"), "--out", out, "--engines", "none,rigid", "--json")
    assert done.exit_code == 0, done.output
    with (out / "structures.csv").open() as file:
        none, rigid = list(csv.DictReader(file))
    assert (none["method"], none["timepoint"], none["structure"]) == ("none", "tp2", "liver")
    hot, moved = sphere(), np.roll(sphere(), SHIFT_VOXELS, axis=0)
    common = (hot & moved).sum() / hot.sum()
    assert float(none["centroid_mm"]) == pytest.approx(5.0 * SHIFT_VOXELS, rel=1e-4)
    assert float(none["dice"]) == pytest.approx(common, rel=1e-4)
    assert float(none["hd95_mm"]) == pytest.approx(5.0 * SHIFT_VOXELS, abs=1.0)
    held_mbq = LATER * 2e5 * hot.sum() * GRID.voxel_volume_ml * 1e-6
    assert float(none["activity_drawn_mbq"]) == pytest.approx(held_mbq, rel=1e-4)
    assert float(none["activity_difference_percent"]) == pytest.approx(100.0 * (common - 1.0), rel=1e-3)
    assert float(rigid["centroid_mm"]) < 1.0
    assert float(rigid["dice"]) > 0.9
    assert abs(float(rigid["activity_difference_percent"])) < 10.0
    assert (out / "summary.md").is_file()
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["command"] == "evaluate"


def test_a_study_with_structures_on_one_scan_alone_cannot_be_judged(tmp_path):
    study = folder(tmp_path / "study", drawn=False)
    with pytest.raises(InputError, match="no structure is drawn on the reference and on another scan"):
        evaluate_study(study, tmp_path / "out", methods_of(["none"]), device="cpu")
    assert not (tmp_path / "out").exists()


def test_the_exact_motion_of_a_patient_is_not_known(tmp_path):
    with pytest.raises(InputError, match="needs the known motion"):
        evaluate_study(folder(tmp_path / "study"), tmp_path / "out", methods_of(["exact"]), device="cpu")
