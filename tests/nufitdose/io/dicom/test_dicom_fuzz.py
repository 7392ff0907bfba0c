"""Damaged DICOM: a right import or an `InputError`, never another exception."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.damage import drop_attribute, mangle_attribute
from support.dicom_files import ct, nm, pet, stored_values, write
from support.readers import Reader, judge

from nufitdose.io.importer.planning import ImportOptions, plan_import

OPTIONS = ImportOptions(calibration_bq_per_ml_per_count=1.0)
_QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_BYTES = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_WORDS = {  # of no consequence for numbers, times and places
    "AccessionNumber", "PatientName", "SeriesDescription", "StudyID", "StudyDescription", "CodeMeaning", "StudyDate",
    "StudyTime", "InstanceNumber", "Manufacturer", "DeviceSerialNumber", "SeriesNumber",
}  # fmt: skip
_VALUES = stored_values(shape=(3, 5, 4))
_MAKE = {"pet": lambda: [*pet(values=_VALUES), *ct(values=_VALUES % 2048)], "nm": lambda: [nm(values=_VALUES)]}
_KEYWORDS = {
    kind: sorted({e.keyword for d in make() for e in d.iterall() if e.keyword and e.keyword != "PixelData"})
    for kind, make in _MAKE.items()
}


def _new_folder(factory, name):
    """Alone in its parent, for `judge` looks there for what reading might have written."""
    folder = factory.mktemp(name) / "in"
    folder.mkdir()
    return folder


def read(folder):
    """The images of the study and its hours."""
    points = plan_import(folder, OPTIONS).study.timepoints
    return [(tp.time_h, tp.activity.data, None if tp.ct is None else tp.ct.data) for tp in points]


def outcome(folder):
    """What is read, finite and in the shape of a small image; None where it was refused in words that name a file."""
    verdict = judge(Reader(write, read, ()), folder)
    return None if verdict.refusal is not None else verdict.result


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    found = {}
    for kind, make in _MAKE.items():
        folder = _new_folder(tmp_path_factory, kind)
        write(folder, make())
        found[kind] = outcome(folder)
        assert found[kind] is not None
    return found


def same(got, wanted) -> bool:
    return len(got) == len(wanted) and all(
        a[0] == pytest.approx(b[0])
        and np.allclose(a[1], b[1], rtol=1e-6)
        and (a[2] is None or np.array_equal(a[2], b[2]))
        for a, b in zip(got, wanted, strict=True)
    )


@_QUICK
@given(kind=st.sampled_from(sorted(_MAKE)), data=st.data())
def test_a_deleted_attribute_is_missed_or_does_not_matter(tmp_path_factory, truth, kind, data):
    """Without an attribute, in one object or in all: refused, or the import is what it was."""
    keyword = data.draw(st.sampled_from(_KEYWORDS[kind]))
    if keyword in {"ActualFrameDuration", "NumberOfFramesInRotation", "RadionuclideHalfLife"}:
        return  # another value takes their place, and that is said
    datasets = _MAKE[kind]()
    chosen = datasets if data.draw(st.booleans()) else [data.draw(st.sampled_from(datasets))]
    for dataset in chosen:
        drop_attribute(dataset, keyword)
    folder = _new_folder(tmp_path_factory, "deleted")
    _save(folder, datasets)
    got = outcome(folder)
    assert got is None or same(got, truth[kind])


@_QUICK
@given(kind=st.sampled_from(sorted(_MAKE)), data=st.data())
def test_a_mangled_attribute_is_refused_or_tells_of_something_else(tmp_path_factory, truth, kind, data):
    """Where it is neither number, time nor place of the image, the import is what it was."""
    keyword = data.draw(st.sampled_from(_KEYWORDS[kind]))
    value = data.draw(
        st.sampled_from(["", "abc", "-1", "0", "nan", "inf", "1e400", "9" * 70, "1\\2", "\\\\", "20249999", "ü"])
    )
    datasets = _MAKE[kind]()
    chosen = datasets if data.draw(st.booleans()) else [data.draw(st.sampled_from(datasets))]
    for dataset in chosen:
        mangle_attribute(dataset, keyword, value)
    folder = _new_folder(tmp_path_factory, "mangled")
    _save(folder, datasets)
    got = outcome(folder)
    assert got is None or keyword not in _WORDS or same(got, truth[kind])


@_BYTES
@given(kind=st.sampled_from(sorted(_MAKE)), data=st.data())
def test_damaged_bytes_are_refused_or_read(tmp_path_factory, kind, data):
    """Refused, or hours after administration and images of finite numbers."""
    folder = _new_folder(tmp_path_factory, "bytes")
    paths = write(folder, _MAKE[kind]())
    path = data.draw(st.sampled_from(paths))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path.write_bytes(bytes(content))
    got = outcome(folder)
    assert got is None or all(hours >= 0 and image.ndim == 3 and np.isfinite(image).all() for hours, image, _ in got)


@_QUICK
@given(kind=st.sampled_from(sorted(_MAKE)), data=st.data())
def test_a_flipped_bit_of_a_pixel_changes_that_voxel_alone(tmp_path_factory, truth, kind, data):
    folder = _new_folder(tmp_path_factory, "pixel")
    path = data.draw(st.sampled_from(write(folder, _MAKE[kind]())))
    content = bytearray(path.read_bytes())
    pixels = 2 * _VALUES.size if kind == "nm" else 2 * _VALUES[0].size
    content[-1 - data.draw(st.integers(0, pixels - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(content))
    got = outcome(folder)
    if got is not None:  # a CT value of 60 000 HU is refused
        images = [
            (a, b) for point, wanted in zip(got, truth[kind], strict=True) for a, b in zip(point, wanted, strict=True)
        ]
        assert sum(int((a != b).sum()) for a, b in images if isinstance(a, np.ndarray)) == 1


def _save(folder, datasets):
    for number, dataset in enumerate(datasets):
        dataset.save_as(folder / f"{number:03d}.dcm", enforce_file_format=False)
