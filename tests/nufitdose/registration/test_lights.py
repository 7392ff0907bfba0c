"""The light of a pair: what makes it check or fail, and that its sentence names the right thing."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from nufitdose.registration.lights import LIMITS, PairState, judge_pair
from nufitdose.registration.quality import RegistrationQuality
from nufitdose.registration.structure_quality import StructureAgreement, StructureTransport


def quality(**numbers: float) -> RegistrationQuality:
    """A good registration, some numbers changed."""
    usual = dict.fromkeys((field.name for field in dataclasses.fields(RegistrationQuality)), 0.0)
    good = {"lncc": 0.8, "tre_mm": np.nan, "overlap_percent": 100.0, "jacobian_min": 0.8, "jacobian_max": 1.2}
    return RegistrationQuality(**usual | good | numbers)


BEFORE = quality(lncc=0.3)
RIGID = quality(lncc=0.6)


def test_a_good_pair_is_good():
    assert judge_pair(quality(), BEFORE, RIGID).state is PairState.GOOD


@pytest.mark.parametrize(
    ("numbers", "state", "words"),
    [
        ({"folding_percent": 0.2}, PairState.CHECK, "folds is 0.2 %"),
        ({"folding_percent": 4.0}, PairState.FAILED, "folds is 4 %"),
        ({"lncc": 0.1}, PairState.FAILED, "gain in likeness over the scans as they lay is -0.2"),
        ({"lncc": 0.55}, PairState.CHECK, "over the rigid motion"),
        ({"overlap_percent": 60.0}, PairState.CHECK, "reference body that the scan shows is 60 %, at least 80 %"),
        ({"overlap_percent": 10.0}, PairState.FAILED, "shows is 10 %"),
        ({"activity_change_percent": -8.0}, PairState.CHECK, "total activity is 8 %"),
        ({"jacobian_beyond_percent": 3.0}, PairState.CHECK, "halved or doubled"),
        ({"inverse_consistency_mm": 5.0}, PairState.CHECK, "TG-132"),
        ({"tre_mm": 12.0}, PairState.FAILED, "landmarks is 12 mm"),
    ],
)
def test_each_measure_can_turn_the_light(numbers, state, words):
    light = judge_pair(quality(**numbers), BEFORE, RIGID)
    assert light.state is state
    assert words in light.why


def test_structures_can_turn_it_and_are_named():
    near = StructureAgreement("liver", 20.0, 1.0, 0.5, 0.95, 12.0, 3.0)
    far = StructureAgreement("tumour_1", 20.0, 9.0, 0.1, 0.9, 12.0, 4.0)
    light = judge_pair(quality(), BEFORE, RIGID, (near, far))
    assert light.state is PairState.CHECK
    assert "centroids of tumour_1 is 9 mm" in light.why
    unsure = StructureTransport("tumour_1", 1.0, 1.0, 0.0, 9.0)
    assert "displacement in tumour_1" in judge_pair(quality(), BEFORE, RIGID, (near,), (unsure,)).why


def test_failed_goes_before_check_whatever_comes_first():
    assert "folds" in judge_pair(quality(overlap_percent=60.0, folding_percent=4.0), BEFORE, RIGID).why


def test_nothing_to_judge_by_is_not_good():
    unknown = {"lncc": np.nan, "overlap_percent": np.nan, "activity_change_percent": np.nan}
    assert judge_pair(quality(**unknown), quality(**unknown)).state is PairState.UNKNOWN


def test_the_limits_of_the_documentation_are_those_of_the_program():
    page = Path(__file__).parents[3] / "docs/explanation/registration.md"
    rows = {line.split("`")[1]: line.split("|") for line in page.read_text().splitlines() if line.startswith("| `")}
    for name, limit in LIMITS.items():
        said = [float(number) for cell in rows[name][2:4] for number in re.findall(r"-?[\d.]+", cell)]
        assert said == [limit.good] + [limit.failed] * (limit.failed is not None)


def test_every_limit_has_a_source_and_a_failure_beyond_it():
    for limit in LIMITS.values():
        assert limit.source
        if limit.failed is not None:
            assert (limit.failed < limit.good) == limit.falls
