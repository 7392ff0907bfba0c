"""The scripts of examples/, each run as a user runs it, and the physics of what they print."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LU177_ELECTRONS_MEV = 0.1473  # mean energy of betas, conversion and Auger electrons per decay, ICRP Publication 107


def printed(name: str, folder: Path) -> str:
    """What a script prints, run in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = ROOT / "examples" / name
    run = subprocess.run(
        [sys.executable, script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


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


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES} == {"study_from_arrays.py", "fit_voxels.py", "register_two_scans.py"}
