"""Damaged inputs of every reader: refused in words that name the file, or read right; soon, and in little memory.

`python -m support.fuzz` from tests/ goes on where the few seeds here end.
"""

import contextlib
import functools
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.damage import mangle_attribute
from support.dicom_files import ct, pet, rtstruct, stored_values
from support.readers import READERS, judge, same

from nufitdose.errors import InputError
from nufitdose.io.importer import ImportOptions
from nufitdose.io.importer.command import run_import
from nufitdose.io.study_folder import load_study

SEEDS = range(8)
_SMALL = stored_values(shape=(4, 5, 4))
_MOST_KB = 300_000  # that are taken while files of a few kB are read; weights are 9 MB
_reader = functools.cache(lambda name: READERS[name]())


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """`sound(name)`: the folder of a sound input, and what is read of it."""

    @functools.cache
    def make(name):
        folder = tmp_path_factory.mktemp("sound") / "in"
        folder.mkdir()
        _reader(name).make(folder)
        verdict = judge(_reader(name), folder)
        assert verdict.refusal is None, verdict.refusal
        return folder, verdict.result

    return make


@pytest.fixture
def damaged(sound, tmp_path):
    """`damaged(name, seed)`: a copy of a sound input with one file damaged."""

    def make(name, seed):
        folder = tmp_path / str(seed) / "in"
        shutil.copytree(sound(name)[0], folder, symlinks=True)
        _reader(name).spoil(folder, seed)
        return folder

    return make


def memory_kb(what):
    """The memory of this process; its peak (VmHWM) counts from the last look at the present (VmRSS)."""
    if not Path("/proc/self/clear_refs").exists():
        return 0
    if what == "VmRSS":
        Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


@pytest.mark.parametrize("name", READERS)
def test_damage_is_refused_in_words_or_read(sound, damaged, name):
    sound(name)  # so that what imports take is not counted
    for seed in SEEDS:
        folder = damaged(name, seed)
        before = memory_kb("VmRSS")
        judge(_reader(name), folder)
        assert memory_kb("VmHWM") - before < _MOST_KB


@pytest.mark.parametrize("name", READERS)
def test_two_readings_of_a_sound_input_are_the_same(sound, name):
    folder, result = sound(name)
    assert same(judge(_reader(name), folder).result, result)


@pytest.mark.parametrize("name", ["nifti", "labels"])
def test_a_damaged_image_that_is_read_is_what_nibabel_reads(damaged, name):
    read = 0
    for seed in range(100, 140):
        folder = damaged(name, seed)
        verdict = judge(_reader(name), folder)
        if verdict.refusal is not None:
            continue
        read += 1
        data, affine = verdict.result
        image = nib.load(next(folder.glob("*.nii")))
        scale = {"micron": 1e-3, "meter": 1e3}.get(image.header.get_xyzt_units()[0], 1.0)
        np.testing.assert_allclose(affine[:3], scale * image.affine[:3], rtol=1e-6)
        np.testing.assert_allclose(data, np.asarray(image.dataobj).reshape(data.shape), rtol=1e-6, atol=0.01)
    assert read > 5


def test_a_packed_image_is_never_read_wrong(sound, damaged):
    """Its checksum vouches for every byte."""
    for seed in range(100, 140):
        verdict = judge(_reader("nifti packed"), damaged("nifti packed", seed))
        assert verdict.refusal is not None or same(verdict.result, sound("nifti packed")[1])


@pytest.mark.parametrize("name", ["rtstruct", "seg"])
def test_damaged_structures_leave_the_images_alone(sound, damaged, name):
    wanted = [point[:4] for point in sound(name)[1][1:]]
    for seed in range(100, 112):
        verdict = judge(_reader(name), damaged(name, seed))
        assert verdict.refusal is not None or same([point[:4] for point in verdict.result[1:]], wanted)


@pytest.mark.parametrize("name", ["card", "weights"])
def test_damaged_weights_are_never_used(sound, damaged, name):
    """Whatever is read has the numbers of the sound file: the card's words may change, the network may not."""
    for seed in range(100, 106):
        verdict = judge(_reader(name), damaged(name, seed))
        assert verdict.refusal is not None or same(verdict.result, sound(name)[1])


@pytest.mark.parametrize(
    "value", ["../../x", "/etc/passwd", "..\\x", "\x1b[31mred", "=1+1", "a" * 3000, "~/x", "%s%n{0}"]
)
def test_an_import_of_hostile_names_writes_its_folder_alone(tmp_path, value):
    folder, out = tmp_path / "in", tmp_path / "out"
    scans = [*pet(values=_SMALL), *ct(values=_SMALL % 2048)]
    for dataset in [*scans, rtstruct(scans[len(_SMALL) :], name=value.replace("\\", "")[:60])]:
        for keyword in ("PatientID", "PatientName", "SeriesDescription", "StudyID", "StructureSetLabel"):
            mangle_attribute(dataset, keyword, value)
        folder.mkdir(exist_ok=True)
        dataset.save_as(folder / f"{dataset.SOPInstanceUID}.dcm", enforce_file_format=False)
    before = sorted(folder.iterdir())
    with contextlib.suppress(InputError):
        run_import(folder, out, ImportOptions())
        assert all(path.name.replace("_", "").replace(".", "").isalnum() for path in out.rglob("*"))
        assert load_study(out).timepoints[0].structures is not None
    assert sorted(folder.iterdir()) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "out"}
