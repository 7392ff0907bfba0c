"""`details:` of study.yaml reach the study, and a study written again."""

import pytest
from support.small_study import small_study, small_study_folder

from nufitdose.errors import InputError
from nufitdose.io.study_folder import load_study, save_study
from nufitdose.study import Details


def with_details(folder, text):
    path = small_study_folder(folder) / "study.yaml"
    path.write_text(path.read_text() + f"\ndetails: {text}\n")
    return path


def test_details_are_read_and_written_again(tmp_path):
    found = load_study(with_details(tmp_path / "a", "{sex: F, weight_kg: 71.5, cycle: 2, site: Clinic A, operator: B}"))
    assert found.details == Details(sex="F", weight_kg=71.5, cycle=2, site="Clinic A", operator="B")
    (tmp_path / "b").mkdir()
    save_study(found, tmp_path / "b")
    assert load_study(tmp_path / "b").details == found.details
    assert small_study().details == Details()


@pytest.mark.parametrize("wrong", ["{sex: X}", "{weight_kg: 71500}", "{cycle: 0}", "{name: Jane}"])
def test_details_that_cannot_be_are_refused(tmp_path, wrong):
    with pytest.raises(InputError, match="details"):
        load_study(with_details(tmp_path / "a", wrong))
