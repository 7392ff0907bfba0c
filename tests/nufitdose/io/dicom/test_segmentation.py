"""DICOM SEG: segments of every kind, in every order, on the voxels of an image."""

import logging
import warnings
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.headers import read_header
from nufitdose.io.dicom.read.images import ImageSeries, make_series, slices_of
from nufitdose.io.structures import read_structure_objects, references

STUDY, SERIES, FRAME = generate_uid(), generate_uid(), generate_uid()
COLUMNS, ROWS, SLICES = 20, 16, 6


@pytest.fixture
def warned(caplog):
    """`warned(text)`: how many warnings with this text were given."""

    def count(text: str) -> int:
        return sum(text in r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)

    return count


def series_of(*paths: Path) -> ImageSeries:
    return make_series(slices_of([header for path in paths if (header := read_header(path))]))


def ct_slices(folder: Path, *, oblique: bool = False, spacing=(1.5, 1.25), step: float = 2.5) -> list[Path]:
    """A small CT; spacing between rows, between columns, between slices in mm."""
    row, column = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    if oblique:
        row, column = np.array([0.8, 0.6, 0.0]), np.array([-0.48, 0.64, 0.6])
    paths = []
    for k in range(SLICES):
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=[SERIES, str(k)])
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = STUDY, SERIES, FRAME
        dataset.Modality, dataset.PatientID, dataset.PatientName = "CT", "P1", "A^B"
        dataset.PatientBirthDate = dataset.PatientSex = dataset.AccessionNumber = dataset.StudyID = ""
        dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName = "20200101", "100000", ""
        dataset.SeriesDescription, dataset.InstanceNumber, dataset.SeriesNumber = "abdomen", k + 1, 1
        position = np.array([-12.0, -9.0, 30.0]) + k * step * np.cross(row, column)
        dataset.ImagePositionPatient = [round(float(v), 6) for v in position]
        dataset.ImageOrientationPatient = [*row, *column]
        dataset.PixelSpacing, dataset.SliceThickness = list(spacing), 4.0
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = ROWS, COLUMNS, 1
        dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 1
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "HU"
        dataset.PixelData = np.zeros((ROWS, COLUMNS), dtype=np.int16).tobytes()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        paths.append(folder / f"ct{k}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def description(number: int, label: str) -> highdicom.seg.SegmentDescription:
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Liver,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
    )


def write_seg(path: Path, images: list[Path], pixels: np.ndarray, labels=("liver", "lesion 1"), kind="BINARY", **more):
    """A SEG by highdicom: pixels [slice, row, column(, segment)]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        highdicom.seg.Segmentation(
            source_images=[pydicom.dcmread(image) for image in images],
            pixel_array=pixels,
            segmentation_type=kind,
            segment_descriptions=[description(n, label) for n, label in enumerate(labels, start=1)],
            series_instance_uid=generate_uid(),
            series_number=9,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="test",
            manufacturer_model_name="test",
            software_versions="1",
            device_serial_number="1",
            **more,
        ).save_as(path)
    return path


def masks(seed: int = 0, segments: int = 2) -> np.ndarray:
    """Random segments [slice, row, column, segment]; overlapping, some slices empty."""
    rng = np.random.default_rng(seed)
    found = rng.random((SLICES, ROWS, COLUMNS, segments)) < 0.3
    found[2] = False
    found[4, :, :, 0] = False
    return found.astype(np.uint8)


def on_grid(pixels: np.ndarray) -> np.ndarray:
    """[slice, row, column] as [i, j, k]."""
    return pixels.transpose(2, 1, 0).astype(bool)


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("omit_empty", [True, False])
def test_overlapping_binary_segments(tmp_path, oblique, omit_empty):
    images, pixels = ct_slices(tmp_path, oblique=oblique), masks()
    path = write_seg(tmp_path / "seg.dcm", images, pixels, omit_empty_frames=omit_empty)
    found = read_structure_objects([path], series_of(*images))
    assert len(found.layers) == 2
    assert found.tumours == {"lesion 1"}
    np.testing.assert_array_equal(found.mask("liver")[0], on_grid(pixels[..., 0]))
    np.testing.assert_array_equal(found.mask("lesion 1")[0], on_grid(pixels[..., 1]))


def test_what_a_segmentation_refers_to(tmp_path):
    images = ct_slices(tmp_path)
    found = references(write_seg(tmp_path / "seg.dcm", images, masks()))
    assert found.modality == "SEG"
    assert found.series_uids == {SERIES}
    assert found.sop_instance_uids == set(series_of(*images).sop_instance_uids)
    assert found.frame_of_reference_uids == {FRAME}
    assert found.study_uid == STUDY


def test_the_volume_comes_from_positions_not_from_the_slice_thickness(tmp_path):
    images = ct_slices(tmp_path)  # 2.5 mm apart, SliceThickness 4.0
    pixels = np.zeros((SLICES, ROWS, COLUMNS), dtype=np.uint8)
    pixels[1:5, 4:8, 4:9] = 1
    found = read_structure_objects([write_seg(tmp_path / "seg.dcm", images, pixels, ("liver",))], series_of(*images))
    mask, layer = found.mask("liver")
    assert mask.sum() * layer.grid.voxel_volume_ml == pytest.approx(80 * 1.5 * 1.25 * 2.5 / 1000)


@pytest.mark.parametrize("fractional", ["PROBABILITY", "OCCUPANCY"])
def test_fractions_count_from_one_half(tmp_path, fractional, warned):
    images = ct_slices(tmp_path)
    fractions = np.random.default_rng(1).choice([0.0, 0.25, 0.49, 0.5, 0.51, 1.0], (SLICES, ROWS, COLUMNS))
    path = write_seg(
        tmp_path / "seg.dcm",
        images,
        fractions,
        ("liver",),
        "FRACTIONAL",
        fractional_type=fractional,
        max_fractional_value=200,
    )
    found = read_structure_objects([path], series_of(*images))
    np.testing.assert_array_equal(found.mask("liver")[0], on_grid(fractions >= 0.5))
    assert warned(f"voxels with a {fractional.lower()} of at least one half are taken")


def test_label_maps_written_by_highdicom(tmp_path):
    images = ct_slices(tmp_path)
    labels = np.random.default_rng(2).integers(0, 3, (SLICES, ROWS, COLUMNS)).astype(np.uint8)
    path = write_seg(tmp_path / "seg.dcm", images, labels, kind="LABELMAP")
    found = read_structure_objects([path], series_of(*images))
    assert list(found.names.values()) == ["liver", "lesion 1"]
    np.testing.assert_array_equal(found.mask("liver")[0], on_grid(labels == 1))
    np.testing.assert_array_equal(found.mask("lesion 1")[0], on_grid(labels == 2))


def edit_seg(path: Path, change) -> Path:
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
        change(dataset)
        dataset.save_as(path)
    return path


def turned(dataset: Dataset, flip_columns: bool, flip_rows: bool, swap: bool, shuffle: list[int]) -> None:
    """The same segmentation stored with its pixel axes turned and its frames in another order."""
    groups, shared = dataset.PerFrameFunctionalGroupsSequence, dataset.SharedFunctionalGroupsSequence[0]
    orientation = shared.PlaneOrientationSequence[0]
    row, column = np.array(orientation.ImageOrientationPatient[:3]), np.array(orientation.ImageOrientationPatient[3:])
    measures = shared.PixelMeasuresSequence[0]
    between_rows, between_columns = map(float, measures.PixelSpacing)
    planes = dataset.pixel_array.copy()
    move = np.zeros(3)
    if flip_columns:
        planes, move, row = planes[:, :, ::-1], move + row * between_columns * (planes.shape[2] - 1), -row
    if flip_rows:
        planes, move, column = planes[:, ::-1], move + column * between_rows * (planes.shape[1] - 1), -column
    if swap:
        planes, row, column = planes.transpose(0, 2, 1), column, row
        between_rows, between_columns = between_columns, between_rows
    orientation.ImageOrientationPatient = [round(float(v), 6) for v in (*row, *column)]
    measures.PixelSpacing = [between_rows, between_columns]
    for group in groups:
        place = group.PlanePositionSequence[0]
        place.ImagePositionPatient = [round(float(v), 3) for v in np.array(place.ImagePositionPatient) + move]
    dataset.PerFrameFunctionalGroupsSequence = pydicom.Sequence([groups[n] for n in shuffle])
    dataset.Rows, dataset.Columns = planes.shape[1:]
    dataset.PixelData = pydicom.pixels.pack_bits(planes[shuffle])


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    oblique=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_turned_axes_rounded_positions_and_any_order_of_frames(tmp_path, flips, oblique, seed):
    images, pixels = ct_slices(tmp_path, oblique=oblique), masks(seed)
    path = write_seg(tmp_path / "seg.dcm", images, pixels)
    shuffle = np.random.default_rng(seed).permutation(pydicom.dcmread(path).NumberOfFrames).tolist()
    edit_seg(path, lambda dataset: turned(dataset, *flips, shuffle))
    found = read_structure_objects([path], series_of(*images))
    np.testing.assert_array_equal(found.mask("liver")[0], on_grid(pixels[..., 0]))
    np.testing.assert_array_equal(found.mask("lesion 1")[0], on_grid(pixels[..., 1]))


def finer_seg(tmp_path: Path, images: list[Path]) -> tuple[Path, np.ndarray]:
    """A SEG made on a CT of other voxels in the same frame of reference."""
    (tmp_path / "other").mkdir()
    others = ct_slices(tmp_path / "other", spacing=(1.0, 0.9), step=1.6)
    pixels = np.zeros((SLICES, ROWS, COLUMNS), dtype=np.uint8)
    pixels[0, 3:12, 4:16] = 1
    pixels[1:3, 2:13, 3:17] = 1  # frame 3 is empty and not stored
    pixels[4:, 3:12, 4:16] = 1
    path = write_seg(tmp_path / "seg.dcm", others, pixels, ("liver",))
    return path, pixels


def test_other_voxels_are_resampled_in_the_same_frame_of_reference(tmp_path, warned):
    images = ct_slices(tmp_path)
    path, pixels = finer_seg(tmp_path, images)
    series = series_of(*images)
    mask, _ = read_structure_objects([path], series).mask("liver")
    source = sitk.GetImageFromArray(pixels)
    source.SetSpacing((0.9, 1.0, 1.6))
    source.SetOrigin((-12.0, -9.0, 30.0))
    target = sitk.Image([COLUMNS, ROWS, SLICES], sitk.sitkUInt8)
    target.SetSpacing((1.25, 1.5, 2.5))
    target.SetOrigin((-12.0, -9.0, 30.0))
    expected = sitk.GetArrayFromImage(sitk.Resample(source, target, sitk.Transform(), sitk.sitkNearestNeighbor))
    np.testing.assert_array_equal(mask, on_grid(expected))
    assert warned("lies on other voxels than the image: the nearest voxel is taken")
    assert warned(f"liver: {pixels.sum() * 0.9 * 1.0 * 1.6 / 1000:.3f} mL in the segmentation, ")


def test_other_voxels_in_another_frame_of_reference_are_refused(tmp_path):
    images = ct_slices(tmp_path)
    path, _ = finer_seg(tmp_path, images)

    def move(dataset):
        dataset.FrameOfReferenceUID = "1.2.3"

    with pytest.raises(InputError, match=r"seg\.dcm: .*other voxels than the image, and in another frame"):
        read_structure_objects([edit_seg(path, move)], series_of(*images))


def test_the_images_decide_where_the_frame_of_reference_differs(tmp_path, warned):
    images, pixels = ct_slices(tmp_path), masks()

    def move(dataset):
        dataset.FrameOfReferenceUID = "1.2.3"

    path = edit_seg(write_seg(tmp_path / "seg.dcm", images, pixels), move)
    found = read_structure_objects([path], series_of(*images))
    np.testing.assert_array_equal(found.mask("liver")[0], on_grid(pixels[..., 0]))
    assert warned("the frame of reference differs")


def test_one_plane_off_the_image_needs_its_thickness(tmp_path):
    images, pixels = ct_slices(tmp_path), np.zeros((SLICES, ROWS, COLUMNS), dtype=np.uint8)
    pixels[1, 4:8, 4:9] = 1

    def lift(dataset):
        measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.SliceThickness, measures.SpacingBetweenSlices = "2.5", None
        dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [-12.0, -9.0, 33.2]

    def forget(dataset):
        dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness = None

    path = edit_seg(write_seg(tmp_path / "seg.dcm", images, pixels, ("liver",)), lift)
    assert read_structure_objects([path], series_of(*images)).mask("liver")[0].sum(axis=(0, 1))[1] == 20
    with pytest.raises(InputError, match=r"SpacingBetweenSlices \(0018,0088\) is missing"):
        read_structure_objects([edit_seg(path, forget)], series_of(*images))


def test_frames_outside_the_image_are_told(tmp_path, warned):
    images, pixels = ct_slices(tmp_path), masks()
    path = write_seg(tmp_path / "seg.dcm", images, pixels)
    found = read_structure_objects([path], series_of(*images[:4]))
    np.testing.assert_array_equal(found.mask("liver")[0], on_grid(pixels[:4, ..., 0]))
    assert warned(f"{pixels[4:].sum()} segmented voxels lie outside the image and are left out")


def test_a_segment_without_voxels_is_passed_over(tmp_path, warned):
    images, pixels = ct_slices(tmp_path), masks()
    pixels[..., 1] = 0
    path = write_seg(tmp_path / "seg.dcm", images, pixels)
    assert list(read_structure_objects([path], series_of(*images)).names.values()) == ["liver"]
    assert warned("lesion 1: no voxel lies in the image; it is left out")


def no_position(dataset):
    del dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence


def no_orientation(dataset):
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence


def other_kind(dataset):
    dataset.SegmentationType = "SURFACE"


def too_few_groups(dataset):
    del dataset.PerFrameFunctionalGroupsSequence[0]


def two_of_one_number(dataset):
    dataset.SegmentSequence[1].SegmentNumber = 1


def no_segments(dataset):
    dataset.SegmentSequence = []


def no_direction(dataset):
    dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [0] * 6


def flat_pixels(dataset):
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0, 1]


def short_pixels(dataset):
    dataset.PixelData = dataset.PixelData[:40]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (no_position, r"PlanePositionSequence \(0020,9113\) is missing"),
        (no_orientation, r"PlaneOrientationSequence \(0020,9116\) is missing"),
        (other_kind, r"SegmentationType \(0062,0001\) is 'SURFACE', one of BINARY, FRACTIONAL, LABELMAP"),
        (no_direction, r"ImageOrientationPatient \(0020,0037\) is .*, two perpendicular unit vectors"),
        (flat_pixels, r"PixelSpacing \(0028,0030\) is .*, two positive numbers"),
        (too_few_groups, r"NumberOfFrames \(0028,0008\) is '\d+', the object describes \d+ frames"),
        (two_of_one_number, r"SegmentNumber \(0062,0004\) is '1', a number of its own"),
        (no_segments, "describes no segment"),
        (short_pixels, "the pixels cannot be read, the file looks truncated"),
    ],
)
def test_broken_objects_are_refused(tmp_path, change, problem):
    images = ct_slices(tmp_path)
    path = edit_seg(write_seg(tmp_path / "seg.dcm", images, masks()), change)
    with pytest.raises(InputError, match=problem) as caught:
        read_structure_objects([path], series_of(*images))
    assert "seg.dcm" in str(caught.value)
    assert "Export the segmentation again" in str(caught.value)


@pytest.mark.parametrize("position", [[-11.3, -9.0, 32.5], [-12.0, -9.0, 30.9], [-12.0, -9.0, 9e6]])
def test_frames_off_any_grid_are_refused(tmp_path, position):
    images = ct_slices(tmp_path)

    def shift(dataset):
        groups = dataset.PerFrameFunctionalGroupsSequence
        groups[1].PlanePositionSequence[0].ImagePositionPatient = position
        groups[2].PlanePositionSequence[0].ImagePositionPatient = [-12.0, -9.0, 31.1]  # on no slice of the image

    path = edit_seg(write_seg(tmp_path / "seg.dcm", images, masks()), shift)
    with pytest.raises(InputError, match="do not lie on one regular grid"):
        read_structure_objects([path], series_of(*images))


# ---------------------------------------------------------------- real files


def nrrd(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).transpose(2, 1, 0)


def test_liver_of_three_slices(real_data, warned):
    folder = real_data("rt_dicom") / "seg_dcmqi"
    found = read_structure_objects([folder / "liver.dcm"], series_of(*(folder / "ct_3slice").iterdir()))
    mask, layer = found.mask("Liver")
    assert mask.sum(axis=(0, 1)).tolist() == [36233, 35645, 35220]
    assert mask.sum() * layer.grid.voxel_volume_ml == pytest.approx(70.362, abs=0.001)
    np.testing.assert_array_equal(mask, nrrd(folder / "liver_seg.nrrd") > 0)
    assert warned("") == 0


def test_segments_that_overlap(real_data):
    folder = real_data("rt_dicom") / "seg_dcmqi"
    found = read_structure_objects([folder / "partial_overlaps.dcm"], series_of(*(folder / "ct_3slice").iterdir()))
    counts = {"GREEN": 9602, "ORANGE": 11888, "PURPLE": 10743, "LIGHT_BLUE": 6693, "DARK_BLUE": 4713}
    mask = {name: found.mask(name)[0] for name in counts}
    assert {name: int(m.sum()) for name, m in mask.items()} == counts
    assert (mask["GREEN"] & mask["ORANGE"]).sum() == 3017
    assert (mask["GREEN"] & mask["PURPLE"]).sum() == 95
    assert (mask["ORANGE"] & mask["PURPLE"]).sum() == 50
    assert (sum(m.astype(int) for m in mask.values()) > 1).sum() == 3106
    assert np.logical_or.reduce(list(mask.values())).sum() == 40505
    assert len(found.layers) == 3


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("seg/label.seg", [0, 315, 0]),
        ("sparse-labelmap-noppv.dcm", [315, 0, 315]),
        ("sparse-labelmap-ppv5.dcm", [315, 0, 315]),
    ],
)
def test_label_maps_with_frames_left_out(real_data, file, counts):
    folder = real_data("rt_dicom") / "seg_dcmqi" / "labelmap_24x38x3"
    found = read_structure_objects([folder / file], series_of(*(folder / "image").iterdir()))
    assert list(found.names.values()) == ["Liver"]  # background and padding are no structures
    assert found.mask("Liver")[0].sum(axis=(0, 1)).tolist() == counts


@pytest.mark.parametrize("file", ["sparse_labelmap_noppv_seg.nrrd", "sparse_labelmap_ppv5_seg.nrrd"])
def test_label_maps_agree_with_their_nrrd(real_data, file):
    folder = real_data("rt_dicom") / "seg_dcmqi" / "labelmap_24x38x3"
    path = folder / file.replace("_seg.nrrd", ".dcm").replace("_", "-")
    found = read_structure_objects([path], series_of(*(folder / "image").iterdir()))
    np.testing.assert_array_equal(found.mask("Liver")[0], nrrd(folder / file) == 1)


def test_a_single_frame(real_data):
    folder = real_data("rt_dicom") / "seg_highdicom"
    series = series_of(folder / "ct_image.dcm")
    found = read_structure_objects([folder / "seg_image_ct_binary_single_frame.dcm"], series)
    assert found.mask("first segment")[0].sum() == 1832


@pytest.fixture
def head_ct(real_data):
    """Three neighbouring slices of the CT the 16 x 16 files of highdicom were made on, as pydicom ships them."""
    real_data("rt_dicom")
    folder = Path(pydicom.data.get_testdata_file("dicomdirtests/77654033/CT2/17136")).parent
    found = {float(pydicom.dcmread(path).ImagePositionPatient[2]): path for path in folder.iterdir() if path.is_file()}
    return series_of(*(path for z, path in found.items() if z > 0))


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("seg_image_ct_binary.dcm", {"first segment": [127, 256, 255]}),
        ("seg_image_ct_binary_overlap.dcm", {"first segment": [16, 16, 16], "second segment": [4, 4, 4]}),
        ("seg_image_ct_binary_fractional.dcm", {"first segment": [127, 256, 255]}),
    ],
)
def test_small_files_of_highdicom(real_data, head_ct, file, counts):
    found = read_structure_objects([real_data("rt_dicom") / "seg_highdicom" / file], head_ct)
    got = {name: found.mask(name)[0].sum(axis=(0, 1)).tolist() for name in found.names.values()}
    assert got == counts


def test_fractions_of_at_most_one_half(real_data, head_ct, warned):
    path = real_data("rt_dicom") / "seg_highdicom" / "seg_image_ct_true_fractional.dcm"
    stored = pydicom.dcmread(path).pixel_array
    found = read_structure_objects([path], head_ct)
    assert found.mask("first segment")[0].sum() == (stored == 128).sum() > 0
    assert warned("voxels with a probability of at least one half are taken")


@pytest.mark.parametrize(
    ("value", "scheme", "meaning", "role"),
    [
        ("86049000", "SCT", "Neoplasm, Primary", "tumour"),
        ("M-80006", "SRT", "Neoplasm, Secondary", "tumour"),
        ("1", "99LOCAL", "Liver metastasis", "tumour"),
        ("10200004", "SCT", "Liver", "organ"),
    ],
)
def test_a_segment_coded_as_neoplasm_is_a_tumour_whatever_its_name(tmp_path, value, scheme, meaning, role):
    images = ct_slices(tmp_path)
    path = write_seg(tmp_path / "seg.dcm", images, masks(segments=1), labels=("ROI 7",))
    dataset = pydicom.dcmread(path)
    code = dataset.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0]
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    dataset.save_as(path)
    structures = read_structure_objects([path], series_of(*images))
    assert structures.role("ROI 7") == role
