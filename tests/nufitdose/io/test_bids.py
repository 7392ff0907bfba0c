"""BIDS-like trees as data: what is read, in which unit, at which hour; what is refused."""

import json
import re
import shutil

import numpy as np
import pytest
from support.small_study import GRID, small_study

from nufitdose.errors import InputError
from nufitdose.io.bids import load_subject
from nufitdose.io.nifti import save_volume
from nufitdose.nuclides import half_life_h
from nufitdose.training.preparation import keys_of, read_cohort
from nufitdose.training.settings import DataSettings

SAYS = {
    "Units": "kBq/mL",
    "TracerRadionuclide": "Lu177",
    "InjectedRadioactivity": 7400.0,
    "InjectedRadioactivityUnits": "MBq",
    "ImageDecayCorrected": False,
    "Manufacturer": "any",
}


def write_subject(root, name, *, hours=(4.0, 24.0, 96.0), dimmer=1.0, kind="nm"):
    for number, tp in enumerate(small_study(hours).timepoints, start=1):
        session = root / name / f"ses-{number:02d}"
        for folder, volume, factor in (("ct", tp.ct, dimmer), (kind, tp.activity, dimmer)):
            (session / folder).mkdir(parents=True)
            stem = session / folder / f"{name}_ses-{number:02d}_{folder}"
            save_volume(volume.with_data(volume.data * np.float32(factor)), f"{stem}.nii.gz")
        stem.with_suffix(".json").write_text(json.dumps(SAYS | {"HoursAfterAdministration": hours[number - 1]}))
    return root / name


def changed(folder, session, **values):
    """The sidecar of a session with other values; None takes a key away."""
    (path,) = (*folder.glob(f"{session}/nm/*.json"), *folder.glob(f"{session}/pet/*.json"))
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def test_a_subject_is_a_study_in_bq_per_ml_and_hours(tmp_path):
    study, files = load_subject(write_subject(tmp_path, "sub-01"))
    made = small_study()
    assert (study.patient, study.nuclide, study.reference_id) == ("sub-01", "Lu-177", "ses-01")
    assert study.administration.activity_mbq == 7400.0
    assert [tp.time_h for tp in study.timepoints] == [4.0, 24.0, 96.0]
    assert [tp.id for tp in study.timepoints] == ["ses-01", "ses-02", "ses-03"]
    for found, wanted in zip(study.timepoints, made.timepoints, strict=True):
        np.testing.assert_allclose(found.activity.data, 1e3 * wanted.activity.data, rtol=1e-6)
        np.testing.assert_array_equal(found.ct.data, wanted.ct.data)
        np.testing.assert_allclose(found.ct.grid.affine, GRID.affine, atol=1e-4)
    assert len(files) == 9
    assert all(file.is_file() for file in files)


def test_decay_correction_is_undone(tmp_path):
    folder = write_subject(tmp_path, "sub-01", hours=(4.0,), kind="pet")
    plain = load_subject(folder)[0].reference.activity.data.max()
    times = {"ScanStart": 15_000.0, "ImageDecayCorrectionTime": 600.0, "InjectionStart": 600.0}
    changed(folder, "ses-01", ImageDecayCorrected=True, HoursAfterAdministration=None, **times)
    timepoint = load_subject(folder)[0].reference
    assert timepoint.time_h == pytest.approx(4.0)
    assert timepoint.activity.data.max() == pytest.approx(plain * 2.0 ** (-4.0 / half_life_h("Lu-177")), rel=1e-6)
    assert timepoint.activity.data.max() < 0.99 * plain


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"Units": None}, "'Units' is missing"),
        ({"Units": "SUV"}, "'Units' is 'SUV'"),
        ({"TracerRadionuclide": "Lu999"}, "Lu999"),
        ({"InjectedRadioactivity": None}, "'InjectedRadioactivity' is missing"),
        ({"InjectedRadioactivityUnits": "mCi"}, "mCi"),
        ({"ImageDecayCorrected": None}, "'ImageDecayCorrected' is missing"),
        ({"ImageDecayCorrected": True}, "ImageDecayCorrectionTime"),
        ({"HoursAfterAdministration": -1.0}, "0 h or later"),
        ({"HoursAfterAdministration": None}, "time of the scan after administration"),
        ({"HoursAfterAdministration": None, "ScanStart": 60.0}, "'InjectionStart'"),
        ({"HoursAfterAdministration": 4.0}, "both 4.000 h"),
        ({"InjectedRadioactivity": 3700.0}, "several administrations"),
        ({"TracerRadionuclide": "I131"}, "several administrations"),
    ],
)
def test_what_is_physical_is_never_guessed(tmp_path, values, said):
    folder = write_subject(tmp_path, "sub-01", hours=(4.0, 24.0))
    changed(folder, "ses-02", **values)
    with pytest.raises(InputError, match=re.escape(said)) as refused:
        load_subject(folder)
    assert "sub-01" in str(refused.value)


def test_one_activity_a_session_and_a_ct_if_there_is_one(tmp_path):
    folder = write_subject(tmp_path, "sub-01", hours=(4.0, 24.0))
    shutil.rmtree(folder / "ses-01/ct")
    assert load_subject(folder)[0].reference.ct is None
    (image,) = (folder / "ses-02/nm").glob("*.nii.gz")
    shutil.copy(image, image.with_name("again.nii.gz"))
    with pytest.raises(InputError, match=r"2 images of activity.*one is wanted"):
        load_subject(folder)
    shutil.rmtree(folder / "ses-02/nm")
    with pytest.raises(InputError, match="0 images of activity"):
        load_subject(folder)
    for session in folder.glob("ses-*"):
        shutil.rmtree(session)
    with pytest.raises(InputError, match="no session"):
        load_subject(folder)


def test_a_tree_is_a_cohort_split_by_subject(tmp_path):
    for number in range(1, 4):
        write_subject(tmp_path, f"sub-{number:02d}", hours=(4.0, 24.0), dimmer=0.3 * number)
    (tmp_path / "dataset_description.json").write_text("{}")
    cohort = read_cohort(DataSettings(cohort=str(tmp_path)), seed=0)
    assert [len(part) for part in (cohort.train, cohort.validation, cohort.test)] == [1, 1, 1]
    assert {member.patient for member in cohort.members} == {"sub-01", "sub-02", "sub-03"}
    assert [key.timepoint for key in keys_of(cohort.train[0])] == ["ses-01", "ses-02"]
    before = cohort.digests()
    changed(cohort.train[0].folder, "ses-01", Units="Bq/mL")
    assert read_cohort(DataSettings(cohort=str(tmp_path)), seed=0).digests() != before
    changed(cohort.train[0].folder, "ses-01", Units=None)
    left = read_cohort(DataSettings(cohort=str(tmp_path), broken="skip", shares=(0.0, 0.0)), seed=0)
    assert len(left.members) == 2
