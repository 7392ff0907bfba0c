"""Numbers that a user would notice: one that moves fails here until CHANGELOG.md says why (see freeze.py)."""

import json

import pytest

from regression.measured import ENGINES, FROZEN, SAMPLES, import_real, numbers_of

#: Processors round differently and a registration stops a little elsewhere: relative, and absolute for distances.
TOLERANCE = {
    "volume_ml": (1e-4, 0), "mass_g": (1e-3, 0), "tia_mbq_h": (5e-3, 0), "tiac_h": (5e-3, 0), "teff_h": (1e-2, 0),
    "dose_mean_gy": (5e-3, 0), "dose_d2_gy": (1e-2, 0), "dose_d50_gy": (1e-2, 0), "dose_d98_gy": (3e-2, 0.01),
    "dose_max_gy": (2e-2, 0), "dose_mean_unregistered_gy": (1e-3, 0), "centroid_before_mm": (0, 0.01),
    "centroid_after_mm": (0, 0.3), "dice_after": (0, 0.02),
}  # fmt: skip


#: A field of many thousand numbers, optimised in few steps, is settled less closely than a pose of six.
WIDER = {"rigid": 1.0, "nufit": 3.0}


def moved(found: dict, name: str, engine: str) -> list[str]:
    frozen = json.loads(FROZEN.read_text())[f"{name} {engine}"]
    assert found.keys() == frozen.keys()
    lines = []
    for subject, numbers in frozen.items():
        for column, value in numbers.items():
            relative, absolute = (WIDER[engine] * tolerance for tolerance in TOLERANCE[column])
            wanted = value if value is None else pytest.approx(value, rel=relative, abs=absolute)
            if found[subject][column] != wanted:
                lines.append(f"{subject} {column}: frozen {value}, found {found[subject][column]}")
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["sample", pytest.param("iodine", marks=pytest.mark.long)])
def test_the_digital_patients(tmp_path, name, engine):
    lines = moved(numbers_of(SAMPLES[name], tmp_path / "out", engine), name, engine)
    assert not lines, "\n".join(lines)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("engine", ENGINES)
def test_the_real_patient(tmp_path, real_data, engine):
    study = import_real(real_data("lu177_dotatate_2tp"), tmp_path / "study")
    lines = moved(numbers_of(study, tmp_path / "out", engine), "lu177_dotatate_2tp", engine)
    assert not lines, "\n".join(lines)


def test_the_digital_patients_stay_small():
    files = [path for folder in SAMPLES.values() for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2_000_000
