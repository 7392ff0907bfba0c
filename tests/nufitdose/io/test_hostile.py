"""Input that is made to hurt, by kind: an `InputError` soon, before memory is taken."""

import contextlib
import gzip
import os
import struct
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless
from support.dicom_files import ct, write
from support.small_study import small_study_folder

from nufitdose.config import dump_yaml, parse_yaml
from nufitdose.errors import InputError
from nufitdose.files import read_text
from nufitdose.grid import Grid
from nufitdose.io.contours import rasterise
from nufitdose.io.dicom.read.find import find_dicom
from nufitdose.io.dicom.read.images import make_series, slices_of
from nufitdose.io.drawn_structures import unique_names
from nufitdose.io.nifti import load_volume, save_volume
from nufitdose.io.study_folder import load_study
from nufitdose.volume import Quantity, Volume


def bomb(levels: int, width: int) -> str:
    lines = ["x0: &x0 [a]"] + [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(12, 10), "aliases stand for more than"),
        (bomb(300, 1), "levels"),
        ("a: &a [*a]", "alias within"),
        ("a: " + "[" * 5000, "levels"),
        ("a: !!binary aGVsbG8=", "tag"),
        ("a: " + "9" * 5000, "not valid YAML"),
    ],
)
def test_yaml_is_bounded_before_it_is_expanded(text, said):
    with pytest.raises(InputError, match=said) as caught:
        parse_yaml(text, where="x.yaml")
    assert len(str(caught.value)) < 500


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"]), min_size=1))
@example("1e5")
@example("0012")
@example("no")
@example("2024-01-01")
def test_text_in_yaml_comes_back_as_text(text):
    assert parse_yaml(dump_yaml({"patient": text}), where="x.yaml") == {"patient": text}


def test_aliases_of_a_reasonable_size_are_taken():
    assert parse_yaml("a: &a [1, 2]\nb: [*a, *a]", where="x.yaml")["b"] == [[1, 2], [1, 2]]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("id: tp2", f"id: {'t' * 300}"),
        ("1: liver", r'1: "a\e[31mred"'),
        ("1: liver", r'1: "\uD800"'),
        ("1: liver", f"{10**300}: liver"),
        ("nuclide:", "dicom: {StudyInstanceUID: ../../x}\nnuclide:"),
        ("nuclide:", r"dicom: {PatientID: 'a\b'}" + "\nnuclide:"),
        ("nuclide:", "dicom: {StudyDate: 'no'}\nnuclide:"),
        ("activity: tp1/", f"activity: {'a' * 5000}/"),
        ("activity: tp1/", f"activity: {'a' * 256}/"),
        ("activity: tp1/", f"activity: {'a/' * 2000}/"),
        ("decay_corrected_to", "beds: [{slices: [0, 500000000], start_s: 0}]\n  decay_corrected_to"),
    ],
)
def test_a_manifest_holds_names_and_numbers_of_a_reasonable_size(tmp_path, old, new):
    manifest = small_study_folder(tmp_path / "s") / "study.yaml"
    text = manifest.read_text(encoding="utf-8")
    assert old in text
    manifest.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_study(manifest)
    assert len(str(caught.value)) < 3000


def test_a_pipe_is_no_settings_file_and_no_image(tmp_path):
    os.mkfifo(tmp_path / "x.nii")
    with pytest.raises(InputError, match="regular file"):
        read_text(tmp_path / "x.nii", 100)
    with pytest.raises(InputError, match="no such file"):
        load_volume(tmp_path / "x.nii", Quantity.HU)


@pytest.mark.parametrize(
    ("at", "kind", "value"),
    [
        (0, "i", 349),  # size of the header
        (40, "h", 9),  # number of dimensions
        (40, "4h", (3, 32767, 32767, 32767)),
        (40, "4h", (3, 300, 300, 300)),  # more than the file can hold
        (40, "4h", (3, -4, 4, 4)),
        (70, "h", 0),  # type
        (70, "h", 1536),  # float128
        (70, "h", 9999),
        (108, "f", -1000.0),  # where voxels begin
        (116, "f", float("nan")),  # intercept
        (280, "4f", (1e30, 0.0, 0.0, 0.0)),  # a row of the sform
        (280, "4f", (1e-3, 0.0, 0.0, 0.0)),
        (280, "4f", (4.0, 0.0, 0.0, 1e9)),
    ],
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_nifti_header_is_checked_before_memory_is_taken(tmp_path, at, kind, value, ending):
    path = tmp_path / f"x{ending}"
    grid = Grid.from_spacing((4, 4, 4), (4.0, 4.0, 4.0))
    save_volume(Volume(np.zeros(grid.shape, np.float32), grid, Quantity.HU), path)
    raw = bytearray(gzip.decompress(path.read_bytes()) if ending.endswith("gz") else path.read_bytes())
    values = value if isinstance(value, tuple) else (value,)
    raw[at : at + struct.calcsize(f"<{kind}")] = struct.pack(f"<{kind}", *values)
    if kind == "4f":
        raw[252:254] = b"\0\0"  # the sform alone counts
    path.write_bytes(gzip.compress(bytes(raw)) if ending.endswith("gz") else bytes(raw))
    with pytest.raises(InputError):
        load_volume(path, Quantity.HU)


def test_other_formats_are_not_parsed(tmp_path):
    (tmp_path / "x.gii").write_text("<!DOCTYPE x [<!ENTITY a 'aaaa'>]><GIFTI>&a;</GIFTI>")
    with pytest.raises(InputError, match=r"NIfTI \(\.nii, \.nii\.gz\) is wanted"):
        load_volume(tmp_path / "x.gii", Quantity.HU)


@pytest.mark.parametrize(
    ("syntax", "pixels"), [(JPEG2000Lossless, b"\xff\x4f\xff\x51" + bytes(200)), (RLELossless, bytes(64))]
)
def test_compressed_pixels_that_are_none_end_in_words(tmp_path, syntax, pixels):
    images = ct()
    for image in images:
        image.file_meta.TransferSyntaxUID = syntax
        image.PixelData = encapsulate([pixels])
        image["PixelData"].VR = "OB"
    write(tmp_path, images)
    series = make_series(slices_of(find_dicom(tmp_path).headers))
    with pytest.raises(InputError, match="pixels cannot be read"):
        series.read_values()


def test_a_dicom_image_of_four_gigapixels_is_refused_unread(tmp_path):
    images = ct()
    for image in images:
        image.Rows = image.Columns = 65535
        image.file_meta.TransferSyntaxUID = RLELossless
        image.PixelData = encapsulate([bytes(64)])
        image["PixelData"].VR = "OB"
    write(tmp_path, images)
    with pytest.raises(InputError, match="pixels a slice"):
        make_series(slices_of(find_dicom(tmp_path).headers))


def test_deep_folders_pipes_and_circles_of_links_are_passed_over(tmp_path):
    write(tmp_path / "scan", ct())
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    with contextlib.chdir(tmp_path):
        for _ in range(1000):
            os.mkdir("deep")
            os.chdir("deep")
        try:
            assert len(find_dicom(tmp_path).headers) == len(ct())
        finally:  # nobody else can: the path is too long
            for _ in range(1000):
                os.chdir("..")
                os.rmdir("deep")


def test_contours_of_many_points_and_many_structures_take_seconds():
    grid = Grid.from_spacing((32, 32, 4), (4.0, 4.0, 4.0))
    turn = np.linspace(0.0, 2.0 * np.pi, 100_000, endpoint=False)
    circle = np.stack([50.0 * np.cos(turn), 50.0 * np.sin(turn), np.full_like(turn, 2.0)], axis=1)
    begun = time.monotonic()
    found = rasterise([circle], grid)
    assert found.contours_ml == pytest.approx(np.pi * 50.0**2 * 4.0 / 1000.0, rel=1e-5)
    assert len(set(unique_names(["liver"] * 2000))) == 2000
    assert time.monotonic() - begun < 20.0
    to_and_fro = circle.copy()
    to_and_fro[::2, 0], to_and_fro[1::2, 0] = -50.0, 50.0
    with pytest.raises(InputError, match="crosses the contours"):
        rasterise([to_and_fro], grid)
