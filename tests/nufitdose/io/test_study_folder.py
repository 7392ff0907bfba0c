from datetime import datetime

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_study import GRID, small_study, small_study_folder, sphere

import nufitdose
from nufitdose.errors import InputError
from nufitdose.io.study_folder import load_study, save_study, study_files
from nufitdose.study import Structures, Study, TimePoint
from nufitdose.volume import Quantity, Volume


def test_a_study_survives_its_folder(tmp_path):
    study = small_study()
    folder = small_study_folder(tmp_path / "s")
    found = nufitdose.load_study(folder / "study.yaml")
    assert (found.patient, found.nuclide, found.reference_id) == ("P7", "Lu-177", "tp1")
    assert found.administration == study.administration
    for one, other in zip(found.timepoints, study.timepoints, strict=True):
        assert one.time_h == pytest.approx(other.time_h, abs=1e-6)
        assert one.activity.grid.matches(other.activity.grid)
        np.testing.assert_array_equal(one.activity.data, other.activity.data)
        np.testing.assert_array_equal(one.ct.data, other.ct.data)
    np.testing.assert_array_equal(found.structures.mask("liver")[0], sphere())
    assert {p.name for p in study_files(folder)} == {"study.yaml", "activity.nii.gz", "ct.nii.gz", "structures.nii.gz"}


def test_bed_positions_survive_their_folder(tmp_path):
    base = small_study((4.0,))
    offsets_h = np.repeat([0.0, 303.0 / 3600.0, 0.0], [4, 5, 1])
    point = TimePoint.of("tp1", 4.0, base.reference.activity, base.reference.ct, None, offsets_h)
    path = save_study(Study("P", "Lu-177", base.administration, "tp1", (point,)), tmp_path)
    found = load_study(tmp_path).reference
    np.testing.assert_allclose(found.slice_offsets_h, offsets_h, atol=1e-6)
    np.testing.assert_array_equal(found.activity.data, base.reference.activity.data)
    beds = yaml.safe_load(path.read_text())["timepoints"][0]["beds"]
    assert beds == [
        {"slices": [0, 3], "start_s": 0.0},
        {"slices": [4, 8], "start_s": 303.0},
        {"slices": [9, 9], "start_s": 0.0},
    ]


BAD_BEDS = {
    "a gap": ([[0, 3], [5, 9]], "slice 4 is in none"),
    "two beds in one slice": ([[0, 4], [4, 9]], "slice 4 is in two"),
    "backwards": ([[0, 3], [9, 4]], "end before they begin"),
    "too few": ([[0, 3]], "10"),
}


@pytest.mark.parametrize(("slices", "said"), BAD_BEDS.values(), ids=BAD_BEDS.keys())
def test_beds_hold_every_slice_once(tmp_path, slices, said):
    folder = small_study_folder(tmp_path, hours=(4.0,))
    manifest = yaml.safe_load((folder / "study.yaml").read_text())
    beds = [{"slices": pair, "start_s": 300 * n} for n, pair in enumerate(slices)]
    manifest["timepoints"][0]["beds"] = beds
    (folder / "study.yaml").write_text(yaml.safe_dump(manifest))

    def read():
        return load_study(folder).reference.activity

    with pytest.raises(InputError, match=said):
        read()


def test_structures_of_several_time_points_share_their_labels(tmp_path):
    one = Structures((Volume(sphere().astype(np.uint8), GRID, Quantity.LABELS),), {1: "liver"})
    other = Structures(
        (Volume(np.where(sphere(), 5, 9).astype(np.uint8), GRID, Quantity.LABELS),), {9: "spleen", 5: "liver"}
    )
    base = small_study((4.0, 24.0), structures=False)
    points = [
        TimePoint.of(tp.id, tp.time_h, tp.activity, tp.ct, s)
        for tp, s in zip(base.timepoints, (one, other), strict=True)
    ]
    save_study(Study("P", "Lu-177", base.administration, "tp1", tuple(points)), tmp_path)
    found = load_study(tmp_path)
    for timepoint in found.timepoints:
        np.testing.assert_array_equal(timepoint.structures.mask("liver")[0], sphere())
    assert found.timepoints[1].structures.present() == ("liver", "spleen")
    assert found.structures.present() == ("liver",)


def test_a_study_on_which_nothing_is_drawn_survives(tmp_path):
    nothing = Structures((Volume(np.zeros(GRID.shape, np.uint8), GRID, Quantity.LABELS),), {})
    base = small_study((4.0, 24.0), structures=False)
    points = tuple(TimePoint.of(tp.id, tp.time_h, tp.activity, tp.ct, nothing) for tp in base.timepoints)
    save_study(Study("P", "Lu-177", base.administration, "tp1", points), tmp_path)
    assert all(timepoint.structures is None for timepoint in load_study(tmp_path).timepoints)


def test_overlapping_structures_survive(tmp_path):
    layers = tuple(Volume((sphere(r) * n).astype(np.uint8), GRID, Quantity.LABELS) for n, r in ((1, 12.0), (2, 18.0)))
    drawn = Structures(layers, {1: "core", 2: "whole"}, frozenset({"core"}))
    base = small_study((4.0,), structures=False)
    point = TimePoint.of("tp1", 4.0, base.reference.activity, None, drawn)
    save_study(Study("P", "Lu-177", base.administration, "tp1", (point,)), tmp_path)
    found = load_study(tmp_path).structures
    np.testing.assert_array_equal(found.mask("core")[0], sphere(12.0))
    np.testing.assert_array_equal(found.mask("whole")[0], sphere(18.0))
    assert found.tumours == {"core"}


def test_decay_correction_to_administration_is_undone_once(tmp_path):
    folder = small_study_folder(tmp_path / "s")
    edit(folder, lambda m: m["timepoints"][1].update(decay_corrected_to="administration"))
    found, held = load_study(folder).timepoints[1], small_study().timepoints[1]
    np.testing.assert_allclose(found.activity.data, held.activity.data * 2 ** (-24 / 159.528), rtol=1e-5)


def edit(folder, change):
    path = folder / "study.yaml"
    manifest = yaml.safe_load(path.read_text())
    change(manifest)
    path.write_text(yaml.safe_dump(manifest))


FAULTS = {
    "no administration": (lambda m: m.pop("administration"), "administration"),
    "no administered activity": (lambda m: m["administration"].pop("activity_mbq"), "activity_mbq"),
    "negative activity": (lambda m: m["administration"].update(activity_mbq=-3), "greater than 0"),
    "activity as text": (lambda m: m["administration"].update(activity_mbq="7 GBq"), "activity_mbq"),
    "unknown nuclide": (lambda m: m.update(nuclide="Lu-178x"), "ICRP"),
    "unknown key": (lambda m: m.update(timepoint=[]), "did you mean 'timepoints'"),
    "unknown key below": (lambda m: m["timepoints"][0].update(activty="x"), "did you mean 'timepoints.0.activity'"),
    "no decay reference": (lambda m: m["timepoints"][0].pop("decay_corrected_to"), "decay_corrected_to"),
    "ambiguous decay reference": (lambda m: m["timepoints"][0].update(decay_corrected_to="start"), "acquisition"),
    "two times": (lambda m: m["timepoints"][0].update(hours=3.0), "exactly one"),
    "no time": (lambda m: m["timepoints"][0].pop("time"), "exactly one"),
    "before administration": (lambda m: m["timepoints"][0].update(time="2024-03-01T09:29:00+01:00"), "later"),
    "no administration time": (lambda m: m["administration"].pop("time"), "administration: time"),
    "one time zone missing": (lambda m: m["administration"].update(time="2024-03-01T09:30:00"), "time zone"),
    "time that is none": (lambda m: m["timepoints"][0].update(time="yesterday"), "time"),
    "two of one id": (lambda m: m["timepoints"][1].update(id="tp1"), "one id"),
    "two at one time": (lambda m: m["timepoints"][1].update(time=m["timepoints"][0]["time"]), "remove the copy"),
    "unknown reference": (lambda m: m.update(reference="tp7"), "tp7"),
    "missing image": (lambda m: m["timepoints"][1].update(activity="tp2/nothing.nii.gz"), "does not exist"),
    "missing ct": (lambda m: m["timepoints"][1].update(ct="tp2/nothing.nii.gz"), "does not exist"),
    "no time points": (lambda m: m.update(timepoints=[]), "timepoints"),
    "structures without names": (lambda m: m["structures"].pop("names"), "names"),
    "tumour unknown": (lambda m: m["structures"].update(tumours=["t1"]), "t1"),
    "two labels of one name": (lambda m: m["structures"].update(names={1: "liver", 2: "liver"}), "two labels"),
    "labels without names": (lambda m: m["timepoints"][1].update(structures=m.pop("structures")["labels"]), "no label"),
    "id that is a path": (lambda m: m["timepoints"][0].update(id="../tp1"), "id"),
    "patient missing": (lambda m: m.pop("patient"), "patient"),
    "patient a fraction": (lambda m: m.update(patient=1.5), "quotes"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_manifest_is_refused_in_one_sentence(tmp_path, fault):
    change, said = FAULTS[fault]
    folder = small_study_folder(tmp_path / "s")
    edit(folder, change)
    with pytest.raises(InputError, match=said) as caught:
        load_study(folder)
    assert "study.yaml" in str(caught.value)


def test_a_folder_without_manifest_says_how_to_make_one(tmp_path):
    with pytest.raises(InputError, match="nufitdose import"):
        load_study(tmp_path)


@settings(max_examples=150)
@given(st.data())
def test_a_mangled_manifest_is_refused_by_name_or_read_as_it_stands(tmp_path_factory, data):
    """An independent reader of YAML finds in the file what was taken from it."""
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    if not folder.exists():
        small_study_folder(folder)
        (folder / "kept").write_text((folder / "study.yaml").read_text())
    text = (folder / "kept").read_text()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    junk = st.text(alphabet="abc0129:-{}[]'\"\n #&*!|>%@\t.e~é", max_size=12)
    (folder / "study.yaml").write_text(text[:start] + data.draw(junk) + text[end:], encoding="utf-8")
    try:
        study = load_study(folder)
    except InputError as error:
        assert "study.yaml" in str(error)  # noqa: PT017  (either of two outcomes is right)
        return
    says = yaml.load((folder / "study.yaml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    assert [tp.id for tp in study.timepoints] == [entry["id"] for entry in says["timepoints"]]
    began = datetime.fromisoformat(says["administration"]["time"])
    hours = [(datetime.fromisoformat(entry["time"]) - began).total_seconds() / 3600 for entry in says["timepoints"]]
    assert [tp.time_h for tp in study.timepoints] == pytest.approx(hours)
    assert (study.reference_id, study.patient) == (says["reference"], says["patient"])
    assert study.administration.activity_mbq == float(says["administration"]["activity_mbq"])
