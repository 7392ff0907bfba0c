"""Numbers that a user would notice: one that moves fails here until CHANGELOG.md says why (see freeze.py)."""

import json

import pytest

from regression.measured import FROZEN, SAMPLE, import_real, numbers_of

#: Processors round differently and a registration stops a little elsewhere: relative, and absolute for distances.
TOLERANCE = {
    "volume_ml": (1e-4, 0), "mass_g": (1e-3, 0), "tia_mbq_h": (5e-3, 0), "tiac_h": (5e-3, 0), "teff_h": (1e-2, 0),
    "dose_mean_gy": (5e-3, 0), "dose_d2_gy": (1e-2, 0), "dose_d50_gy": (1e-2, 0), "dose_d98_gy": (3e-2, 0.01),
    "dose_max_gy": (2e-2, 0), "dose_mean_unregistered_gy": (1e-3, 0), "centroid_before_mm": (0, 0.01),
    "centroid_after_mm": (0, 0.3), "dice_after": (0, 0.02),
}  # fmt: skip


def compare(found: dict, name: str) -> None:
    frozen = json.loads(FROZEN.read_text())[name]
    assert found.keys() == frozen.keys()
    moved = []
    for subject, numbers in frozen.items():
        for column, value in numbers.items():
            relative, absolute = TOLERANCE[column]
            if found[subject][column] != pytest.approx(value, rel=relative, abs=absolute):
                moved.append(f"{subject} {column}: frozen {value}, found {found[subject][column]}")
    assert not moved, "\n".join(moved)


def test_the_sample_study(tmp_path):
    compare(numbers_of(SAMPLE, tmp_path / "out"), "sample")


@pytest.mark.slow
def test_the_real_patient(tmp_path, real_data):
    folder = real_data("lu177_dotatate_2tp")
    compare(numbers_of(import_real(folder, tmp_path / "study"), tmp_path / "out"), "lu177_dotatate_2tp")


def test_the_sample_stays_small():
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < 2_000_000
