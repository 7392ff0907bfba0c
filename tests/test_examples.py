"""The scripts of examples/, each run as a user runs it, and the physics of what they print."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.suffix in {".py", ".ipynb"})
LU177_ELECTRONS_MEV = 0.1473  # mean energy of betas, conversion and Auger electrons per decay, ICRP Publication 107


def printed(name: str, folder: Path) -> str:
    """What a script prints, run in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    script = ROOT / "examples" / name
    run = subprocess.run(
        [sys.executable, script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def printed_by_notebook(name: str, folder: Path) -> tuple[str, str]:
    """What the cells of a notebook print, run one after the other in `folder`, and what is stored in it."""
    cells = [
        cell
        for cell in json.loads((ROOT / "examples" / name).read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    script = folder / "cells.py"
    script.write_text("\n\n".join("".join(cell["source"]) for cell in cells), encoding="utf-8")
    stored = "".join(line for cell in cells for output in cell["outputs"] for line in output.get("text", ()))
    return printed(str(script), folder), stored


def numbers(text: str, label: str) -> list[float]:
    """The numbers of the line that starts with `label`, behind it."""
    line = next(line for line in text.splitlines() if line.startswith(label))
    return [float(found) for found in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", line.removeprefix(label))]


def test_a_study_from_arrays(tmp_path):
    """TIA is A0/λ of the ball; its mean dose is the electrons' energy over its mass; the page is there."""
    text = printed("study_from_arrays.py", tmp_path)
    found_mbq_h, expected_mbq_h = numbers(text, "TIA")
    (mass_g,), (dose_gy,) = numbers(text, "mass"), numbers(text, "mean dose")
    assert found_mbq_h == pytest.approx(expected_mbq_h, rel=1e-4)
    assert mass_g == pytest.approx(1.0 * 4.0 / 3.0 * 3.14159 * 3.0**3, rel=0.05)  # a ball of 3 cm, in voxels
    gray = found_mbq_h * 3.6e9 * LU177_ELECTRONS_MEV * 1.602176634e-13 / (mass_g * 1e-3)
    assert dose_gy == pytest.approx(gray, rel=0.01)
    assert (tmp_path / "ball" / "report.html").is_file()


def test_curves_of_many_voxels(tmp_path):
    """Without noise Ã = a/λ to single precision; with noise one standard uncertainty holds the truth in 68 %."""
    text = printed("fit_voxels.py", tmp_path)
    assert numbers(text, "without noise, worst relative error of TIA:")[0] < 1e-6
    mean_percent, sd_percent = numbers(text, "with 5 % noise, mean and standard deviation of the error:")
    assert abs(mean_percent) < 0.3
    assert 2.0 < sd_percent < 5.0  # four points of 5 % cannot give less than half of it, nor more than one of them
    assert numbers(text, "truth within one standard uncertainty:")[0] == pytest.approx(68.3, abs=1.5)
    assert numbers(text, "MONO:")[0] > 19_000


def test_two_scans_registered(tmp_path):
    """The shift put in is found within 1 mm; warping a concentration by a shift keeps the activity."""
    text = printed("register_two_scans.py", tmp_path)
    true, found = numbers(text, "shift put in, mm:"), numbers(text, "shift found, mm:")
    assert found == pytest.approx(true, abs=1.0)
    assert numbers(text, "largest error at the organs, mm:")[0] < 1.0
    warped_mbq, scanned_mbq = numbers(text, "activity, warped, MBq")
    assert warped_mbq == pytest.approx(scanned_mbq, rel=0.05)  # 12 of 192 mm of the trunk leave the field of view
    before, after = numbers(text, "structural similarity:")
    assert after > before


def test_the_notebook(tmp_path):
    """The shift put in is found, Ã is A₀ T/ln 2 less what hard edges lose by interpolation, doses are energy over
    mass; the cells print what is stored beside them."""
    text, stored = printed_by_notebook("study_to_dose.ipynb", tmp_path)
    true, found = numbers(text, "shift put in, mm:"), numbers(text, "shift found, mm:")
    assert found == pytest.approx(true, abs=1.0)
    off = {name: float(value) for name, value in re.findall(r"(\w+): TIA ([+-][\d.]+) % off", text)}
    assert set(off) == {"liver", "kidney_left"}
    assert all(
        -15.0 < value < 0.0 for value in off.values()
    )  # -11 and -12; a shell of half a voxel is a fifth to a third
    for name, mass_g, tia_mbq_h, dose_gy in re.findall(r"(\w+): (\d+) g, TIA (\d+) MBq·h, mean dose ([\d.]+) Gy", text):
        joule = float(tia_mbq_h) * 3.6e9 * LU177_ELECTRONS_MEV * 1.602176634e-13
        assert float(dose_gy) == pytest.approx(joule / (float(mass_g) * 1e-3), rel=0.03), name
    assert (tmp_path / "results" / "report.html").is_file()
    of_text, of_stored = (re.findall(r"-?\d+\.?\d*", one) for one in (text, stored))
    assert [float(one) for one in of_text] == pytest.approx([float(one) for one in of_stored], rel=0.02, abs=0.3)


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES} == {
        "study_from_arrays.py", "fit_voxels.py", "register_two_scans.py", "study_to_dose.ipynb"
    }  # fmt: skip
