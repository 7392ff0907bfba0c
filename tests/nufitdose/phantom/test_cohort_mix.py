"""Patients of a mix: drawn within what was asked, each from its own seed, the field of view within the images."""

import dataclasses

import nibabel
import numpy as np
import pytest
import yaml

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.phantom import CohortPlan, simulate_cohort
from nufitdose.phantom.fields import jacobian_determinant
from nufitdose.phantom.mix import CohortMix, read_mix
from nufitdose.phantom.motion import MotionSize, Mover, motion_lattice

MIX = CohortMix(
    motion=(0.5, 2.0), counts=(0.1, 10.0), blur=(0.8, 1.4), sliding=0.5, truncated=0.3, field=(0.5, 1.0), shift_mm=50.0
)
SHAPE = (60, 48, 52)
TRACERS = ("Lu-177-DOTATATE", "I-131-NaI")


def plan(patients, mix, seed=3):
    return CohortPlan(patients, seed=seed, tracers=TRACERS, shape=SHAPE, spacing_mm=8.0, mix=mix)


@pytest.fixture
def body(tmp_path):
    """A mix's file with a body of 240 x 180 x 300 mm, its liver in the lower half."""
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    labels = np.zeros((48, 36, 60), np.uint8)
    labels[8:40, 6:30, :] = 1
    labels[12:30, 10:26, 6:26] = 2
    nibabel.save(nibabel.Nifti1Image(labels, affine), tmp_path / "labels.nii.gz")
    hu = np.where(labels > 0, 40, -1000).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(hu, affine), tmp_path / "ct.nii.gz")
    (tmp_path / "names.yaml").write_text("names: {1: muscle, 2: liver}\n")
    path = tmp_path / "mix.yaml"
    files = {"ct": "ct.nii.gz", "labels": "labels.nii.gz", "names": "names.yaml"}
    path.write_text(yaml.safe_dump({"images": 1.0, "shift_mm": 400.0, "bodies": [files]}))
    return path


def test_what_is_drawn_lies_within_its_bounds_and_fills_them():
    drawn = [plan(60, MIX).patient(n) for n in range(1, 61)]
    for name, (low, high) in (("motion", MIX.motion), ("count_level", MIX.counts), ("blur", MIX.blur)):
        values = np.array([getattr(patient, name) for patient in drawn])
        assert low <= values.min() < low + 0.2 * (high - low)
        assert high - 0.35 * (high - low) < values.max() <= high
    sizes = np.array([patient.shape for patient in drawn]) / SHAPE
    assert 0.48 < sizes.min() < 0.6
    assert 0.9 < sizes.max() <= 1.0
    assert 15 < sum(patient.sliding for patient in drawn) < 45
    assert 6 < sum(patient.ct_field_mm is not None for patient in drawn) < 32
    assert abs(np.median(np.log([patient.count_level for patient in drawn]))) < 0.8  # even in the logarithm


def test_a_bent_patient_moves_besides_as_its_share_and_bounds_say():
    mix = CohortMix(bent=0.5, bent_mm=(2.0, 3.0))
    drawn = [plan(60, mix).patient(n).motion_size.bent_mm for n in range(1, 61)]
    assert 18 < np.count_nonzero(drawn) < 42
    assert all(size == 0.0 or 2.0 <= size <= 3.0 for size in drawn)
    lattice = motion_lattice(Grid.from_spacing((40, 36, 40), (6.0,) * 3))
    labels = np.zeros(lattice.shape, np.uint8)
    labels[20:40, 20:30, 20:40] = 1
    mover = Mover(lattice, labels, ("air", "vertebra"))
    still, bent = (mover.draw(np.random.default_rng(7), MotionSize(bent_mm=size)).forward for size in (0.0, 3.0))
    assert (bent - still).std() == pytest.approx(3.0, rel=0.3)
    in_bone = [jacobian_determinant(forward, lattice)[labels > 0].std() for forward in (still, bent)]
    assert in_bone[1] > 3 * in_bone[0]


def test_a_patient_depends_on_its_seed_alone_and_without_a_mix_is_as_before():
    assert plan(2, MIX).patient(2).motion == plan(50, MIX).patient(2).motion != plan(2, MIX).patient(1).motion
    plain, mixed = plan(2, None).patient(2), plan(2, CohortMix()).patient(2)
    for name in (field.name for field in dataclasses.fields(plain)):
        if name != "centre_z_mm":  # told in place of the tracer's own
            assert getattr(plain, name) == getattr(mixed, name), name
    assert "mix" not in plan(2, None).index().settings
    assert plan(2, MIX).index().settings["mix"]["motion"] == [0.5, 2.0]


def test_the_field_of_view_lies_within_a_body_from_images(body, tmp_path):
    mix = read_mix(body)
    images = [plan(8, mix).patient(n) for n in range(1, 9)]
    assert all(patient.images is not None for patient in images)
    assert all(patient.shape == (24, 17, 32) for patient in images)  # 18 mm less at every face, whole voxels of 8 mm
    whole = CohortPlan(2, seed=3, tracers=TRACERS, shape=SHAPE, spacing_mm=8.0, times_h=(4.0, 24.0), mix=mix)
    made = simulate_cohort(tmp_path / "cohort", whole, only=2).parent
    seen = nibabel.load(made / "patient_0002" / "tp1" / "ct.nii.gz")
    assert np.asarray(seen.dataobj).mean() > -900  # it holds the body, not the air beyond
    corners = nibabel.affines.apply_affine(seen.affine, [[0, 0, 0], np.subtract(seen.shape, 1)])
    assert corners.min() > 0.0
    assert (corners.max(axis=0) < [240.0, 180.0, 300.0]).all()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("motion: [2.0, 0.5]", "motion"),
        ("field: [0.5, 1.5]", "field"),
        ("counts: [0.0, 1.0]", "counts"),
        ("sliding: 2.0", "sliding"),
        ("images: 0.5", "bodies"),
        ("anatomy: 1", "anatomy"),
    ],
)
def test_a_mix_that_makes_no_sense_is_refused(text, told, tmp_path):
    path = tmp_path / "mix.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        read_mix(path)


def test_the_mix_that_comes_with_the_program_makes_patients_unlike_each_other(pytestconfig):
    drawn = [plan(4, read_mix(pytestconfig.rootpath / "configs/varied_cohort.yaml")).patient(n) for n in range(1, 5)]
    assert len({(patient.motion, patient.count_level, patient.shape) for patient in drawn}) == 4


def test_a_body_whose_files_are_not_there_is_named(body):
    (body.parent / "names.yaml").unlink()
    with pytest.raises(InputError, match="names"):
        plan(1, read_mix(body))
