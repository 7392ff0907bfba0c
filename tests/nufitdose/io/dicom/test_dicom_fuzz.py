"""Damaged DICOM: a right import or an `InputError`, never another exception."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from support.dicom_files import ct, nm, pet, stored_values, write

from nufitdose.errors import InputError
from nufitdose.io.importer.planning import ImportOptions, plan_import

OPTIONS = ImportOptions(calibration_bq_per_ml_per_count=1.0)
_QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_BYTES = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_VALUES = stored_values(shape=(3, 5, 4))
_MAKE = {"pet": lambda: [*pet(values=_VALUES), *ct(values=_VALUES % 2048)], "nm": lambda: [nm(values=_VALUES)]}
_KEYWORDS = {
    kind: sorted({e.keyword for d in make() for e in d.iterall() if e.keyword and e.keyword != "PixelData"})
    for kind, make in _MAKE.items()
}


def outcome(folder):
    """The images of the study and its hours, or the refusal."""
    try:
        study = plan_import(folder, OPTIONS).study
        points = study.timepoints
        return [(tp.time_h, tp.activity.data, None if tp.ct is None else tp.ct.data) for tp in points]
    except InputError:
        return None


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    found = {}
    for kind, make in _MAKE.items():
        folder = tmp_path_factory.mktemp(kind)
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
        _delete(dataset, keyword)
    folder = tmp_path_factory.mktemp("deleted")
    _save(folder, datasets)
    got = outcome(folder)
    assert got is None or same(got, truth[kind])


@_QUICK
@given(kind=st.sampled_from(sorted(_MAKE)), data=st.data())
def test_a_mangled_attribute_never_surprises(tmp_path_factory, kind, data):
    keyword = data.draw(st.sampled_from(_KEYWORDS[kind]))
    value = data.draw(
        st.sampled_from(["", "abc", "-1", "0", "nan", "inf", "1e400", "9" * 70, "1\\2", "\\\\", "20249999", "ü"])
    )
    datasets = _MAKE[kind]()
    chosen = datasets if data.draw(st.booleans()) else [data.draw(st.sampled_from(datasets))]
    for dataset in chosen:
        _mangle(dataset, keyword, value)
    folder = tmp_path_factory.mktemp("mangled")
    _save(folder, datasets)
    outcome(folder)


@_BYTES
@given(kind=st.sampled_from(sorted(_MAKE)), data=st.data())
def test_damaged_bytes_never_surprise(tmp_path_factory, kind, data):
    folder = tmp_path_factory.mktemp("bytes")
    paths = write(folder, _MAKE[kind]())
    path = data.draw(st.sampled_from(paths))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path.write_bytes(bytes(content))
    outcome(folder)


def _delete(dataset, keyword):
    for element in list(dataset):
        if element.keyword == keyword:
            del dataset[element.tag]
        elif element.VR == "SQ":
            for item in element.value:
                _delete(item, keyword)


def _mangle(dataset, keyword, text):
    """Put raw text where the attribute's value was, whatever it should be."""
    for element in list(dataset):
        if element.keyword == keyword and element.VR != "SQ":
            raw = text.encode("utf-8", "replace")
            dataset.add_new(element.tag, dictionary_VR(element.tag).split(" ")[0], None)
            dataset[element.tag].VR = "UN"
            dataset[element.tag]._value = raw + b" " * (len(raw) % 2)
        elif element.VR == "SQ":
            for item in element.value:
                _mangle(item, keyword, text)


def _save(folder, datasets):
    for number, dataset in enumerate(datasets):
        dataset.save_as(folder / f"{number:03d}.dcm", enforce_file_format=False)
