"""Image series from DICOM: which slice lies where, which value it holds, and what is refused."""

import hashlib
import json
import shutil
from datetime import timedelta

import gdcm
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian
from scipy.ndimage import binary_fill_holes
from scipy.spatial.transform import Rotation
from support.dicom_files import ACQUIRED, SHAPE, ct, nm, pet, positions, stored_values, uid, write

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.find import find_dicom
from nufitdose.io.dicom.read.images import LOWEST_HU, ImageSeries, read_ct
from nufitdose.io.dicom.read.series import Kind, gather
from nufitdose.volume import Quantity, Volume

LPS = np.diag([-1.0, -1.0, 1.0])


def series_in(folder, kind=None) -> ImageSeries:
    there = find_dicom(folder)
    found = [g for g in gather(there.headers, incomplete=there.incomplete) if kind is None or g.kind is kind]
    assert len(found) == 1
    if found[0].refusal:
        raise found[0].refusal
    return found[0].series


def refusal_in(folder) -> InputError:
    with pytest.raises(InputError) as caught:
        series_in(folder)
    return caught.value


def orientations():
    return st.integers(0, 2**32 - 1).map(lambda seed: Rotation.random(rng=seed).as_matrix()[:, :2].T.ravel())


# --- finding files


def test_files_are_found_at_any_depth_and_others_are_counted(tmp_path):
    write(tmp_path / "a" / "b" / "c", ct()[:3], "x")
    write(tmp_path / "a", ct()[3:])
    (tmp_path / "a" / "README.txt").write_text("not DICOM")
    (tmp_path / "a" / "empty").write_bytes(b"")
    (tmp_path / ".hidden").write_bytes(b"\0" * 200)
    found = find_dicom(tmp_path)
    assert (len(found.headers), found.other_files) == (6, 2)
    assert series_in(tmp_path).grid.shape == (4, 5, 6)


def test_dicomdir_is_passed_over(tmp_path):
    write(tmp_path, ct())
    directory = Dataset()
    directory.file_meta = ct()[0].file_meta
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    directory.FileSetID, directory.DirectoryRecordSequence = "DISK", [Dataset()]
    directory.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    found = find_dicom(tmp_path)
    assert (len(found.headers), found.other_files) == (6, 1)


@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_preamble_are_read(tmp_path, implicit):
    for n, dataset in enumerate(ct()):
        del dataset.file_meta
        dataset.save_as(tmp_path / f"{n}", implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    series = series_in(tmp_path)
    assert np.array_equal(read_ct(series).data.transpose(2, 1, 0) + 1024, stored_values(2) % 2048)


def test_identical_copies_count_once_and_different_ones_are_refused(tmp_path):
    write(tmp_path / "one", ct())
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    found = find_dicom(tmp_path)
    assert (len(found.headers), len(found.copies)) == (6, 6)
    changed = ct()
    changed[0].WindowCenter = 7
    write(tmp_path / "two", changed[:1])
    assert "lie at one position" in refusal_in(tmp_path).problem


@pytest.mark.parametrize("content", [None, "text"])
def test_a_folder_without_dicom_is_refused(tmp_path, content):
    if content:
        (tmp_path / "notes.txt").write_text(content)
    folder = tmp_path if content else tmp_path / "missing"
    with pytest.raises(InputError, match=r"no DICOM images|no such folder"):
        find_dicom(folder)


def test_an_outer_slice_that_lost_its_class_is_not_dropped(tmp_path):
    """Without preamble and SOP class it hardly looks like DICOM; passed over, the volume would be shorter."""
    made = ct()
    write(tmp_path, made[:-1])
    del made[-1].SOPClassUID, made[-1].file_meta
    made[-1].save_as(tmp_path / "last", implicit_vr=False, little_endian=True, enforce_file_format=False)
    with pytest.raises(InputError, match=r"SOPClassUID \(0008,0016\)"):
        series_in(tmp_path)


def test_an_unknown_transfer_syntax_is_refused(tmp_path):
    paths = write(tmp_path, ct())
    paths[0].write_bytes(paths[0].read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.5.2.1\0", 1))
    with pytest.raises(InputError, match=r"TransferSyntaxUID \(0002,0010\)"):
        series_in(tmp_path)


# --- geometry


@settings(max_examples=25, deadline=None)
@given(orientation=orientations(), step=st.floats(0.5, 9.0), seed=st.integers(0, 99))
def test_every_voxel_lies_where_dicom_puts_it(tmp_path_factory, orientation, step, seed):
    """PS3.3 C.7.6.2.1.1: P = IPP + X·Δcolumn·column + Y·Δrow·row, for each file; slices shuffled and misnumbered."""
    folder = tmp_path_factory.mktemp("series")
    made = ct(orientation=orientation, step=step, spacing=(3.0, 2.0))
    order = np.random.default_rng(seed).permutation(len(made))
    write(folder, [made[n] for n in order])
    series = series_in(folder)
    volume = read_ct(series)
    row, column = np.array(made[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    for k, dataset in enumerate(made):
        assert series.sop_instance_uids[k] == dataset.SOPInstanceUID
        place = np.array(dataset.ImagePositionPatient, dtype=float) + 3 * 2.0 * row + 4 * 3.0 * column
        assert np.allclose(LPS @ place, series.grid.world(np.array([3.0, 4.0, k])), atol=2e-5)
        assert volume.data[3, 4, k] == dataset.pixel_array[4, 3] - 1024.0


def test_simpleitk_agrees_on_an_oblique_series(tmp_path):
    orientation = Rotation.from_euler("xyz", [20, -15, 30], degrees=True).as_matrix()[:, :2].T.ravel()
    made = ct(orientation=orientation, step=2.5)
    write(tmp_path, made)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path), made[0].SeriesInstanceUID))
    image, volume = reader.Execute(), read_ct(series_in(tmp_path))
    itk = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    for index in [(0, 0, 0), (3, 4, 5), (1, 2, 3)]:
        point = LPS @ np.array(image.TransformIndexToPhysicalPoint(index))
        ours = np.rint(volume.grid.index(point)).astype(int)
        assert np.allclose(volume.grid.world(ours.astype(float)), point, atol=1e-3)
        assert volume.data[tuple(ours)] == itk[index]


def test_slices_of_slightly_uneven_step_are_placed_on_their_mean(tmp_path):
    places = [[0.0, 0.0, z] for z in (0.0, 3.27, 6.54, 9.83, 13.10, 16.37)]
    write(tmp_path, ct(positions=places))
    series = series_in(tmp_path)
    assert series.grid.spacing_mm[2] == pytest.approx(16.37 / 5)
    assert series.deviation_mm == pytest.approx(max(abs(z - k * 16.37 / 5) for k, (_, _, z) in enumerate(places)))
    assert series.deviation_mm < 0.05


def test_the_plain_affine(tmp_path):
    write(tmp_path, ct())
    wanted = [[-2.0, 0, 0, 30.0], [0, -3.0, 0, 20.0], [0, 0, 4.0, 100.0], [0, 0, 0, 1.0]]
    assert np.array_equal(series_in(tmp_path).grid.affine, wanted)


def moved(k: int, **change):
    def change_slices(made):
        for keyword, value in change.items():
            setattr(made[k], keyword, value)
        return made

    return change_slices


def tilted(made):
    for k, dataset in enumerate(made):
        dataset.ImagePositionPatient = [-30, -20 + 0.5 * k, 100 + 4 * k]
    return made


GEOMETRY = {
    "a missing slice": (lambda made: made[:2] + made[3:], "1 slice is missing between CT_001.dcm and CT_002.dcm"),
    "two missing slices": (lambda made: made[:2] + made[4:], "2 slices are missing"),
    "an uneven step": (moved(3, ImagePositionPatient=[-30, -20, 112.2]), "not evenly spaced"),
    "a repeated position": (moved(3, ImagePositionPatient=[-30, -20, 108]), "lie at one position"),
    "gantry tilt": (tilted, "sheared by 7.13 degrees"),
    "a slice shifted sideways": (moved(2, ImagePositionPatient=[-28, -20, 108]), "off the line"),
    "mixed orientations": (moved(2, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), "different orientation"),
    "mixed matrices": (moved(2, Rows=4, Columns=5), "different matrix"),
    "mixed spacings": (moved(2, PixelSpacing=[3, 2.1]), "different pixel spacing"),
    "axes not perpendicular": (
        lambda made: [moved(k, ImageOrientationPatient=[1, 0, 0, 0.2, 0.98, 0])(made)[k] for k in range(len(made))],
        "perpendicular",
    ),
    "no position": (lambda made: [moved(1, ImagePositionPatient=None)(made)[k] for k in range(6)], "(0020,0032)"),
    "one slice without thickness": (lambda made: moved(0, SliceThickness=None)(made)[:1], "single slice"),
    "mixed frames of reference": (moved(5, FrameOfReferenceUID="1.2.3"), "FrameOfReferenceUID (0020,0052)"),
    "negative pixel spacing": (
        lambda made: [moved(k, PixelSpacing=[-3, 2])(made)[k] for k in range(len(made))],
        "wanted > 0",
    ),
}


@pytest.mark.parametrize("case", GEOMETRY)
def test_what_the_affine_cannot_carry_is_refused(tmp_path, case):
    change, words = GEOMETRY[case]
    paths = write(tmp_path, change(ct()))
    refusal = refusal_in(tmp_path)
    assert words in refusal.problem
    assert refusal.remedy or case == "negative pixel spacing"
    assert any(str(path) in str(refusal.where) for path in [*paths, tmp_path])


def test_a_single_slice_takes_its_thickness(tmp_path):
    write(tmp_path, ct()[:1])
    assert series_in(tmp_path).grid.spacing_mm == (2.0, 3.0, 5.0)


# --- values


@pytest.mark.parametrize("syntax", ["rle", "deflated", "implicit", "jpeg lossless", "jpeg-ls", "jpeg 2000"])
def test_compressed_pixels_are_read(tmp_path, syntax):
    values = stored_values(2, (3, 64, 48)) % 2048  # JPEG 2000 wants some size
    made = ct(values=values)
    if syntax == "deflated":
        for dataset in made:
            dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    if syntax == "implicit":
        for dataset in made:
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    paths = write(tmp_path, made)
    gdcm_names = {
        "rle": gdcm.TransferSyntax.RLELossless,
        "jpeg lossless": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        "jpeg-ls": gdcm.TransferSyntax.JPEGLSLossless,
        "jpeg 2000": gdcm.TransferSyntax.JPEG2000Lossless,
    }
    for path in paths if syntax in gdcm_names else ():
        _transcode(path, gdcm_names[syntax])
    volume = read_ct(series_in(tmp_path))
    assert np.array_equal(volume.data.transpose(2, 1, 0) + 1024, values)


def test_baseline_jpeg_is_read(tmp_path):
    values = np.tile(np.linspace(20, 230, 16).astype(np.uint8), (3, 16, 1))
    paths = write(tmp_path, ct(values=values))
    for path in paths:
        _transcode(path, gdcm.TransferSyntax.JPEGBaselineProcess1)
    data = read_ct(series_in(tmp_path)).data.transpose(2, 1, 0) + 1024
    assert np.abs(data - values).max() <= 4  # lossy


def _transcode(path, syntax):
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetForce(True)
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()


def test_each_slice_has_its_own_slope(tmp_path):
    write(tmp_path, pet(slope=lambda k: 0.2 + 0.35 * k))
    wanted = stored_values() * (0.2 + 0.35 * np.arange(6))[:, None, None]
    assert np.allclose(series_in(tmp_path).read_values().transpose(2, 1, 0), wanted, rtol=1e-6)


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("make", [ct, pet])
def test_a_missing_rescale_is_refused(tmp_path, keyword, make):
    made = make()
    delattr(made[2], keyword)
    write(tmp_path, made)
    assert keyword in refusal_in(tmp_path).problem


def test_padding_becomes_the_lowest_number(tmp_path):
    values = stored_values(2).astype(np.int16) % 1500
    values[:, 0, 0], values[:, 0, 1], values[:, 0, 2] = -3024, -2000, 32000
    made = ct(values=values)
    for dataset in made:
        dataset.RescaleIntercept, dataset.PixelPaddingValue = 0, 32000
    write(tmp_path, made)
    data = read_ct(series_in(tmp_path)).data
    assert (data[:3, 0, :] == LOWEST_HU).all()
    assert np.array_equal(data[:, 1:, :].transpose(2, 1, 0), values[:, 1:, :])


def test_a_padding_value_that_would_be_tissue_is_not_believed(tmp_path):
    values = stored_values(2).astype(np.int16) % 1500
    values[:, 0, 0] = 0
    made = ct(values=values)
    for dataset in made:
        dataset.RescaleIntercept, dataset.PixelPaddingValue = 0, 0
    write(tmp_path, made)
    assert (read_ct(series_in(tmp_path)).data[0, 0, :] == 0.0).all()


@pytest.mark.parametrize("signed", [True, False])
def test_bits_above_the_stored_ones_are_ignored(tmp_path, signed):
    """Old files keep overlays there; a signed value needs its sign from bit 11."""
    wanted = (stored_values(2) % 4096).astype(np.int32) - (2048 if signed else 0)
    values = ((wanted & 0x0FFF) | 0xA000).astype(np.uint16)
    made = ct(values=values)
    for dataset in made:
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, int(signed)
        dataset.RescaleIntercept = 3000  # keeps all above the lowest number
    write(tmp_path, made)
    assert np.array_equal(read_ct(series_in(tmp_path)).data.transpose(2, 1, 0) - 3000, wanted)


@pytest.mark.parametrize("cut", [1, 50, 100])
def test_a_truncated_file_is_refused(tmp_path, cut):
    paths = write(tmp_path, ct())
    paths[3].write_bytes(paths[3].read_bytes()[:-cut])
    refusal = refusal_in(tmp_path)
    assert "truncated" in str(refusal) or "cannot be read" in str(refusal) or "missing" in str(refusal)
    assert "CT_003.dcm" in str(refusal.where)


def test_truncated_compressed_pixels_are_refused_on_reading(tmp_path):
    paths = write(tmp_path, ct())
    for path in paths:
        _transcode(path, gdcm.TransferSyntax.RLELossless)
    paths[2].write_bytes(paths[2].read_bytes()[:-60])
    with pytest.raises(InputError, match="CT_002"):
        read_ct(series_in(tmp_path))


PIXELS = {
    "colour": ({"SamplesPerPixel": 3}, "colour"),
    "a palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "MONOCHROME2"),
    "an odd high bit": ({"HighBit": 14}, "plain integer"),
    "a density image": ({"RescaleType": "MGML"}, "HU is wanted"),
    "a slope of zero": ({"RescaleSlope": 0}, "other than zero"),
}


@pytest.mark.parametrize("case", PIXELS)
def test_pixels_of_another_kind_are_refused(tmp_path, case):
    change, words = PIXELS[case]
    made = ct()
    for dataset in made:
        for keyword, value in change.items():
            setattr(dataset, keyword, value)
    write(tmp_path, made)
    with pytest.raises(InputError, match=words):
        read_ct(series_in(tmp_path))


# --- SPECT


@settings(max_examples=20, deadline=None)
@given(orientation=orientations(), step=st.sampled_from([4.0, -4.0]))
def test_spect_slices_stack_along_the_sign_of_their_spacing(tmp_path_factory, orientation, step):
    """PS3.3 C.8.4.15: positive behind the first slice (along row x column), negative in front of it."""
    folder = tmp_path_factory.mktemp("nm")
    write(folder, [nm(step=step, orientation=orientation)])
    series = series_in(folder)
    normal = np.cross(orientation[:3], orientation[3:])
    values = series.read_values()
    for number, stored in enumerate(stored_values(3)):
        place = np.array([-30.0, -20.0, 100.0]) + number * step * normal
        k = round(float(series.grid.index(LPS @ place)[2]))
        assert k == (number if step > 0 else SHAPE[0] - 1 - number)
        assert np.allclose(series.grid.world(np.array([0.0, 0.0, k])), LPS @ place, atol=1e-4)
        assert np.array_equal(values[:, :, k].T, stored)


def test_spect_frames_follow_the_slice_vector(tmp_path):
    dataset = nm()
    dataset.SliceVector = [6, 5, 4, 3, 2, 1]
    write(tmp_path, [dataset])
    assert np.array_equal(series_in(tmp_path).read_values().transpose(2, 1, 0), stored_values(3)[::-1])


def without_place(dataset):
    del dataset.DetectorInformationSequence[0].ImagePositionPatient


def two_places(dataset):
    other = Dataset()
    other.ImagePositionPatient, other.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    dataset.DetectorInformationSequence.append(other)


SPECT = {
    "no position": (without_place, "ImagePositionPatient"),
    "two positions": (two_places, "differently"),
    "no spacing": (lambda d: delattr(d, "SpacingBetweenSlices"), "SpacingBetweenSlices (0018,0088)"),
    "two energy windows": (lambda d: setattr(d, "NumberOfSlices", 3), "6 frames"),
    "a repeated slice": (lambda d: setattr(d, "SliceVector", [1, 1, 2, 3, 4, 5]), "SliceVector"),
    "gates": (lambda d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "RECON GATED TOMO"]), "gated"),
    "truncation": (lambda d: setattr(d, "PixelData", d.PixelData[:-40]), "truncated"),
}


@pytest.mark.parametrize("case", SPECT)
def test_a_spect_volume_that_is_not_one_is_refused(tmp_path, case):
    change, words = SPECT[case]
    dataset = nm()
    change(dataset)
    write(tmp_path, [dataset])
    assert words in refusal_in(tmp_path).problem


@pytest.mark.parametrize("image_type", ["TOMO", "STATIC", "WHOLE BODY"])
def test_projections_are_passed_over(tmp_path, image_type):
    dataset = nm()
    dataset.ImageType = ["ORIGINAL", "PRIMARY", image_type]
    write(tmp_path, [dataset])
    (only,) = gather(find_dicom(tmp_path).headers)
    assert only.series is None
    assert image_type in only.skipped


# --- series


def test_two_scans_of_one_series_are_told_apart_by_time(tmp_path):
    late = pet(values=stored_values(5), acquired=ACQUIRED + timedelta(days=1))
    for dataset in late:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid(dataset.SOPInstanceUID, "late")
    write(tmp_path, pet() + late)
    found = gather(find_dicom(tmp_path).headers)
    assert [g.refusal for g in found] == [None, None]
    assert [np.array_equal(g.series.read_values().transpose(2, 1, 0), stored_values(s) * 10.0)
            for g, s in zip(found, (1, 5), strict=True)] == [True, True]  # fmt: skip


@pytest.mark.parametrize("kind", ["DYNAMIC", "GATED"])
def test_dynamic_and_gated_series_are_refused(tmp_path, kind):
    made = pet()
    for dataset in made:
        dataset.SeriesType = [kind, "IMAGE"]
    write(tmp_path, made)
    assert kind.lower() in refusal_in(tmp_path).problem


def test_repeats_at_one_time_are_refused(tmp_path):
    again = pet(values=stored_values(5))
    for dataset in again:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid(dataset.SOPInstanceUID, "again")
    write(tmp_path, pet() + again)
    assert "several volumes" in (refusal_in(tmp_path).remedy or "")


def test_interleaved_scans_are_not_taken_for_one(tmp_path):
    """Two scans shifted by half a slice fill one even stack; their times betray them."""
    made = pet(step=2.0)
    for k, dataset in enumerate(made):
        dataset.AcquisitionTime = "130000" if k % 2 else "140000"
    write(tmp_path, made)
    assert "not as beds" in refusal_in(tmp_path).problem


def test_beds_of_one_scan_stay_together(tmp_path):
    made = pet()
    for k, dataset in enumerate(made):
        dataset.AcquisitionTime = f"13{5 * (k // 3):02d}00"
    write(tmp_path, made)
    assert series_in(tmp_path).grid.shape[2] == 6


def test_a_series_shorter_than_it_says_is_refused(tmp_path):
    write(tmp_path, pet()[:4])
    assert "4 of 6 slices" in refusal_in(tmp_path).problem


def test_localizers_do_not_disturb_their_series(tmp_path):
    made = ct()
    made[0].ImageType, made[0].ImageOrientationPatient = ["ORIGINAL", "PRIMARY", "LOCALIZER"], [1, 0, 0, 0, 0, -1]
    write(tmp_path, made)
    found = gather(find_dicom(tmp_path).headers)
    assert [g.skipped for g in found] == ["localizer", None]
    assert found[1].series.grid.shape == (4, 5, 5)


def test_folders_play_no_part(tmp_path):
    made = positions(6)
    write(tmp_path / "one", ct(positions=made)[:3])
    write(tmp_path / "two", ct(positions=made)[3:])
    assert series_in(tmp_path).grid.shape == (4, 5, 6)


# --- real images


@pytest.mark.parametrize("scan", ["SCAN_001", "SCAN_002"])
def test_the_lutetium_scans(real_data, scan):
    folder = real_data("lu177_dotatate_2tp")
    facts = json.loads((folder / "EXPECTED.json").read_text())["scans"][scan]
    series = series_in(folder / scan / "image")
    digest = hashlib.sha256()
    for stored in series.stored_slices():
        digest.update(stored.astype("<u2").tobytes())
    assert digest.hexdigest() == facts["stored_values"]["sha256_little_endian_uint16_slices_by_ascending_z"]
    assert np.allclose(series.grid.affine, facts["affine_ras_mm_for_array_column_row_slice"], atol=1e-6)
    values = series.read_values()
    peak = np.unravel_index(values.argmax(), values.shape)
    assert list(peak) == facts["max_voxel_column_row_slice"]
    assert np.allclose(LPS @ series.grid.world(np.array(peak, dtype=float)), facts["max_voxel_lps_mm"], atol=2e-3)
    total = Volume(values, series.grid, Quantity.ACTIVITY).total_mbq()
    assert total == pytest.approx(facts["as_stored"]["total_mbq_in_fov"], rel=1e-6)


def test_the_fdg_scan_keeps_its_slopes_and_uneven_steps(real_data):
    series = series_in(real_data("fdg_petct") / "pt_ac")
    digest = hashlib.sha256()
    for stored in series.stored_slices():
        digest.update(stored.astype("<i2").tobytes())
    assert digest.hexdigest() == "df7bdf0b2a9d4fd652220b405a30c04a4e5bc31f541fe1d13c666d7f7de12436"
    slopes = [frame.slope for frame in series.frames]
    assert (len(set(slopes)), min(slopes), max(slopes)) == (135, 0.209003, 3.70281)
    assert series.header.number("InstanceNumber") == 135  # the lowest slice carries the highest number
    assert 0.01 < series.deviation_mm < 0.02  # two steps of 3.29 mm among 3.27 mm
    values = series.read_values()
    assert np.unravel_index(values.argmax(), values.shape) == (51, 63, 10)
    assert values.max() == pytest.approx(121329.975)
    total = Volume(values, series.grid, Quantity.ACTIVITY).total_mbq()
    assert total == pytest.approx(68.934476, rel=2e-4)  # stated for a step of 3.27 mm; the mean is 3.2703


def test_the_fdg_ct_covers_the_activity(real_data):
    """Both are read into one space: 96.7 % of the activity lies inside the body seen on the CT."""
    folder = real_data("fdg_petct")
    series = series_in(folder / "ct")
    digest = hashlib.sha256()
    for stored in series.stored_slices():
        digest.update(stored.astype("<i2").tobytes())
    assert digest.hexdigest() == "1f36ed6c44c3d6d81106d8528fbc71673fa929c7f20dbc560e421f130243262e"
    anatomy = read_ct(series)
    assert anatomy.data.min() == LOWEST_HU  # -3024 outside the field of view, although the tag says -2000
    assert int((anatomy.data == LOWEST_HU).sum()) >= 7636410
    pt = series_in(folder / "pt_ac")
    activity = Volume(pt.read_values(), pt.grid, Quantity.ACTIVITY)
    on_pet = anatomy.resampled_to(pt.grid).data > -300.0
    body = np.stack([binary_fill_holes(on_pet[:, :, k]) for k in range(on_pet.shape[2])], axis=2)
    assert activity.total_mbq(body) / activity.total_mbq() == pytest.approx(0.967, abs=0.004)


def test_a_converted_multiframe_ct_equals_its_slices(real_data):
    folder = real_data("rt_dicom") / "seg_dcmqi" / "labelmap_24x38x3"
    single, multi = series_in(folder / "image"), series_in(folder / "multiframe")
    assert multi.grid.matches(single.grid)
    assert np.array_equal(read_ct(multi).data, read_ct(single).data)
    assert multi.grid.spacing_mm == pytest.approx((0.7, 0.7, 2.5))
    assert len(multi.sop_instance_uids) == 1


@pytest.mark.parametrize(
    ("place", "shape", "spacing", "z"),
    [
        ("malformed_references", (512, 512, 2), (0.488281, 0.488281, 5.0), 60.0),
        ("seg_dcmqi/ct_3slice", (512, 512, 3), (0.810547, 0.810547, 1.0), -128.690002),  # thickness says 1.25
    ],
)
def test_the_small_ct_series(real_data, place, shape, spacing, z):
    series = series_in(real_data("rt_dicom") / place, Kind.CT)
    assert series.grid.shape == shape
    assert series.grid.spacing_mm == pytest.approx(spacing)
    assert series.grid.affine[2, 3] == pytest.approx(z)


# --- blocks of different slice steps


def in_blocks(heights):
    return [[-30.0, -20.0, 100.0 + height] for height in heights]


def test_a_ct_of_blocks_is_resampled_to_the_finest_step_with_a_warning(tmp_path, caplog):
    """Values that grow linearly along z stay on that line, whatever the steps."""
    heights = [0.0, 2.0, 4.0, 6.0, 11.0, 16.0, 21.0]
    values = np.array([np.full((5, 4), 1000 + 40 * height) for height in heights]).astype(np.uint16)
    write(tmp_path, ct(values=values, positions=in_blocks(heights)))
    with caplog.at_level("WARNING"):
        volume = read_ct(series_in(tmp_path))
    assert "2 to 5 mm apart" in caplog.text
    assert volume.grid.spacing_mm == pytest.approx((2.0, 3.0, 2.0))
    assert volume.grid.shape == (4, 5, 11)
    np.testing.assert_allclose(volume.data[0, 0], 1000 - 1024 + 40 * 2.0 * np.arange(11), atol=1e-3)


@pytest.mark.parametrize("heights", [[0, 2, 4, 6, 11, 13, 15, 17], [0, 2, 4, 9, 14, 15, 16, 18], [0, 2, 4.3, 6, 8]])
def test_single_odd_steps_are_no_blocks(tmp_path, heights):
    values = stored_values(2, (len(heights), 5, 4)) % 2048
    write(tmp_path, ct(values=values, positions=in_blocks(heights)))
    assert refusal_in(tmp_path)


def test_blocks_of_an_activity_are_refused(tmp_path):
    heights = [0.0, 2.0, 4.0, 6.0, 11.0, 16.0, 21.0]
    write(tmp_path, pet(values=stored_values(2, (7, 5, 4)), positions=in_blocks(heights)))
    assert "not evenly spaced" in refusal_in(tmp_path).problem
