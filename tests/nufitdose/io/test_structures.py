"""RTSTRUCT files, whole and broken, as structures on the grid of an image."""

import json
import logging
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RTStructureSetStorage
from support.dicom_files import ct, rtstruct, write

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.dicom.read.geometry import Plane
from nufitdose.io.dicom.read.headers import Header, read_header
from nufitdose.io.dicom.read.images import ImageSeries, StoredSlice, make_series, slices_of
from nufitdose.io.drawn_structures import looks_like_tumour, readable_name
from nufitdose.io.structures import read_structure_objects, references

SERIES, STUDY, FRAME = "1.2.3.1", "1.2.3.2", "1.2.3.3"
IMAGES = [f"1.2.3.4.{k + 1}" for k in range(12)]
GRID = Grid((40, 30, 12), np.array([[-2.0, 0, 0, 50], [0, -2.0, 0, 40], [0, 0, 3.0, -10], [0, 0, 0, 1]]))


def image_series(grid: Grid = GRID, frame: str = FRAME, images: list[str] = IMAGES) -> ImageSeries:
    frames = []
    for k, uid in enumerate(images):
        dataset = Dataset()
        dataset.SOPInstanceUID = uid
        plane = Plane((0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (2.0, 2.0), (30, 40), None, Path(f"{k}.dcm"))
        frames.append(StoredSlice(Header(Path(f"{k}.dcm"), dataset), k, plane, 1.0, 0.0))
    return ImageSeries("CT", SERIES, STUDY, frame, "1.2.840.10008.5.1.4.1.1.2", "abdomen", grid, tuple(frames), 0.0)


def lps(points, k: float, grid: Grid = GRID) -> list[float]:
    """Voxel positions (i, j) on slice k as DICOM has them."""
    world = grid.world(np.column_stack([np.asarray(points, dtype=float), np.full(len(points), float(k))]))
    return (world * (-1, -1, 1)).ravel().tolist()


def box(low: float, high: float, k: float) -> list[float]:
    return lps([(low, low), (high, low), (high, high), (low, high)], k)


def contour(data, kind: str = "CLOSED_PLANAR", image: str | None = None) -> Dataset:
    item = Dataset()
    item.ContourGeometricType = kind
    item.NumberOfContourPoints = len(data) // 3
    item.ContourData = [str(round(value, 4)) if isinstance(value, float) else value for value in data]
    if image:
        reference = Dataset()
        reference.ReferencedSOPInstanceUID = image
        item.ContourImageSequence = Sequence([reference])
    return item


def roi(*contours: Dataset, name: str = "organ", frame: str = FRAME) -> tuple[str, str, tuple[Dataset, ...]]:
    return name, frame, contours


def solid(name: str = "organ", low: float = 4.5, high: float = 14.5, planes=range(3, 8), frame: str = FRAME):
    return roi(*(contour(box(low, high, k)) for k in planes), name=name, frame=frame)


def write_rtstruct(
    path: Path, *rois, series: str = SERIES, frame: str = FRAME, images=tuple(IMAGES), referenced: bool = True
) -> Path:
    dataset = Dataset()
    dataset.SOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID = f"1.2.9.{sum(path.name.encode())}"
    dataset.SeriesInstanceUID = "1.2.9.1"
    dataset.StudyInstanceUID = STUDY
    dataset.Modality = "RTSTRUCT"
    dataset.StructureSetLabel = "drawn"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    frame_item = Dataset()
    frame_item.FrameOfReferenceUID = frame
    if referenced:
        series_item, study_item = Dataset(), Dataset()
        series_item.SeriesInstanceUID = series
        series_item.ContourImageSequence = Sequence([])
        for uid in images:
            image = Dataset()
            image.ReferencedSOPInstanceUID = uid
            series_item.ContourImageSequence.append(image)
        study_item.RTReferencedSeriesSequence = Sequence([series_item])
        frame_item.RTReferencedStudySequence = Sequence([study_item])
    dataset.ReferencedFrameOfReferenceSequence = Sequence([frame_item])
    dataset.StructureSetROISequence, dataset.ROIContourSequence = Sequence([]), Sequence([])
    for number, (name, its_frame, contours) in enumerate(rois, start=1):
        structure, drawn = Dataset(), Dataset()
        structure.ROINumber = drawn.ReferencedROINumber = number
        structure.ROIName = name
        structure.ReferencedFrameOfReferenceUID = its_frame
        drawn.ContourSequence = Sequence(contours)
        dataset.StructureSetROISequence.append(structure)
        dataset.ROIContourSequence.append(drawn)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def warned(caplog):
    """`warned(text)`: how many warnings with this text were given."""

    def count(text: str) -> int:
        return sum(text in r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)

    return count


def expected_box(low: int, high: int, planes) -> np.ndarray:
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[low:high, low:high, list(planes)] = True
    return mask


def test_a_structure_set_becomes_a_label_map(tmp_path, warned):
    path = write_rtstruct(tmp_path / "rs.dcm", solid("liver"), solid("GTV 1", 16.5, 20.5))
    found = read_structure_objects([path], image_series())
    np.testing.assert_array_equal(found.mask("liver")[0], expected_box(5, 15, range(3, 8)))
    np.testing.assert_array_equal(found.mask("GTV 1")[0], expected_box(17, 21, range(3, 8)))
    assert len(found.layers) == 1
    assert found.role("GTV 1") == "tumour"
    assert found.role("liver") == "organ"
    assert warned("") == 0


def test_what_a_file_refers_to(tmp_path):
    path = write_rtstruct(tmp_path / "rs.dcm", roi(contour(box(4, 9, 3), image="9.9.9")))
    found = references(path)
    assert found.modality == "RTSTRUCT"
    assert found.description == "drawn"
    assert found.study_uid == STUDY
    assert found.series_uids == {SERIES}
    assert found.sop_instance_uids == {*IMAGES, "9.9.9"}
    assert found.frame_of_reference_uids == {FRAME}
    assert found.drawn_on(image_series())
    assert found.shares_frame(image_series())


def test_overlapping_structures_lie_on_layers(tmp_path):
    path = write_rtstruct(tmp_path / "rs.dcm", solid("a", 4.5, 14.5), solid("b", 8.5, 18.5), solid("c", 20.5, 25.5))
    found = read_structure_objects([path], image_series())
    assert len(found.layers) == 2
    assert found.mask("a")[0].sum() == 100 * 5
    assert found.mask("b")[0].sum() == 100 * 5
    assert found.mask("c")[0].sum() == 25 * 5
    where = [[label in layer.data for layer in found.layers] for label in found.names]
    assert all(sum(row) == 1 for row in where)  # a label occurs in one layer only


def test_two_files_make_one_set_of_structures(tmp_path, warned):
    first = write_rtstruct(tmp_path / "a.dcm", solid("liver"))
    second = write_rtstruct(tmp_path / "b.dcm", solid("liver", 16.5, 20.5), solid("spleen", 22.5, 26.5))
    found = read_structure_objects([first, second], image_series())
    assert list(found.names.values()) == ["liver", "liver (2)", "spleen"]
    assert found.mask("liver (2)")[0].sum() == 16 * 5
    assert warned("two structures are named 'liver'")


def test_names_stay_readable(tmp_path):
    names = ["  Rein gauche,\tpôle  sup. ", "a\r\nb", "腎臓", 'x"y;z', ""]
    rois = [solid(name, 2.5 + 4 * n, 4.5 + 4 * n) for n, name in enumerate(names)]
    found = read_structure_objects([write_rtstruct(tmp_path / "rs.dcm", *rois)], image_series())
    assert list(found.names.values()) == ["Rein gauche, pôle sup.", "a b", "腎臓", 'x"y;z', "ROI 5"]


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_any_name_is_one_printable_line(text):
    name = readable_name(text, "ROI 1")
    assert name
    assert name.isprintable()
    assert name == name.strip()


def test_unique_names_do_not_meet_given_ones(tmp_path):
    rois = [solid("a", 2.5, 6.5), solid("a", 8.5, 12.5), solid("a (2)", 14.5, 18.5), solid("a", 20.5, 24.5)]
    found = read_structure_objects([write_rtstruct(tmp_path / "rs.dcm", *rois)], image_series())
    assert list(found.names.values()) == ["a", "a (3)", "a (2)", "a (4)"]


@pytest.mark.parametrize(
    ("name", "tumour"),
    [
        ("lesion1 liver R lobe", True),
        ("Tumour_3", True),
        ("TUMOR", True),
        ("gtv_node", True),
        ("bone metastasis", True),
        ("Metastases", True),
        ("met 2", True),
        ("liver_mets", True),
        ("MET1", True),
        ("liver", False),
        ("metal implant", False),
        ("geometry", False),
        ("kidney left", False),
        ("BODY", False),
    ],
)
def test_tumours_are_told_by_their_names(name, tumour):
    assert looks_like_tumour(name) is tumour


def test_nested_contours_are_holes(tmp_path):
    contours = [contour(box(4.5, 20.5, k)) for k in range(3, 8)] + [contour(box(8.5, 12.5, k)) for k in range(3, 8)]
    found = read_structure_objects([write_rtstruct(tmp_path / "rs.dcm", roi(*contours))], image_series())
    assert found.mask("organ")[0].sum() == (16**2 - 4**2) * 5


def test_contours_of_another_slice_spacing(tmp_path, warned):
    fine = solid("fine", 2.5, 8.5, np.arange(2.0, 8.0, 0.5))
    coarse = solid("coarse", 12.5, 18.5, np.arange(2.0, 8.0, 2.0))
    found = read_structure_objects([write_rtstruct(tmp_path / "rs.dcm", fine, coarse)], image_series())
    assert found.mask("fine")[0].sum() == pytest.approx(36 * 6, rel=0.01)
    assert found.mask("coarse")[0].sum() == 36 * 6
    assert warned("coarse: contours 6.00 mm apart stand for slabs of that thickness")


def test_a_gap_between_contours_is_told(tmp_path, warned):
    found = read_structure_objects(
        [write_rtstruct(tmp_path / "rs.dcm", solid(planes=[1, 2, 3, 7, 8, 9]))], image_series()
    )
    assert found.mask("organ")[0].sum() == 100 * 6
    assert warned("3 slices between its contours have none and stay empty")


def test_structures_without_contours_are_passed_over(tmp_path, warned):
    path = write_rtstruct(tmp_path / "rs.dcm", roi(name="Areola"), solid("liver"))
    assert list(read_structure_objects([path], image_series()).names.values()) == ["liver"]
    assert warned("Areola: has no closed contours and is left out")


def test_a_structure_missing_from_the_contour_sequence_is_passed_over(tmp_path, warned):
    path = write_rtstruct(tmp_path / "rs.dcm", solid("ghost"), solid("liver"))
    dataset = pydicom.dcmread(path)
    del dataset.ROIContourSequence[0]
    dataset.save_as(path)
    assert list(read_structure_objects([path], image_series()).names.values()) == ["liver"]
    assert warned("ghost: has no closed contours")


@pytest.mark.parametrize("kind", ["POINT", "OPEN_PLANAR", "OPEN_NONPLANAR", ""])
def test_points_and_open_lines_enclose_nothing(tmp_path, warned, kind):
    mixed = roi(*(contour(box(4.5, 14.5, k)) for k in range(3, 8)), contour(box(16, 20, 5), kind), name="mixed")
    alone = roi(contour(box(16, 20, 5), kind), name="alone")
    found = read_structure_objects([write_rtstruct(tmp_path / "rs.dcm", mixed, alone)], image_series())
    assert list(found.names.values()) == ["mixed"]
    assert found.mask("mixed")[0].sum() == 500
    assert warned(f"mixed: 1 contours of type {kind or 'unsaid'} enclose nothing")
    assert warned("alone: has no closed contours")


def test_contours_of_two_points_are_passed_over(tmp_path, warned):
    path = write_rtstruct(tmp_path / "rs.dcm", roi(contour(box(4.5, 14.5, 3)), contour(box(4.5, 14.5, 4)[:6])))
    assert read_structure_objects([path], image_series()).mask("organ")[0].sum() == 100
    assert warned("1 contours of fewer than three points enclose nothing")


def test_nothing_but_empty_structures_gives_none(tmp_path):
    path = write_rtstruct(tmp_path / "rs.dcm", roi(name="Areola"))
    assert read_structure_objects([path], image_series()) is None
    assert read_structure_objects([], image_series()) is None


def test_structures_beyond_the_image_are_cut_or_left_out(tmp_path, warned):
    path = write_rtstruct(tmp_path / "rs.dcm", solid("cut", -5.5, 4.5), solid("gone", 100.5, 110.5), solid("in"))
    found = read_structure_objects([path], image_series())
    assert list(found.names.values()) == ["cut", "in"]
    np.testing.assert_array_equal(found.mask("cut")[0], expected_box(0, 5, range(3, 8)))
    assert warned("cut: reaches beyond the image: 1.50 mL of its 6.00 mL lie inside")
    assert warned("gone: lies outside the image and is left out")


def test_structures_smaller_than_a_voxel_are_told(tmp_path, warned):
    path = write_rtstruct(tmp_path / "rs.dcm", solid("speck", 4.6, 4.9, [3]), solid("tiny", 4.6, 6.8, [3]))
    found = read_structure_objects([path], image_series())
    assert list(found.names.values()) == ["tiny"]
    assert warned("speck: is smaller than a voxel and is left out")
    assert warned("tiny: the voxels hold 0.060 mL, the contours 0.058 mL")


def test_the_images_decide_where_the_frame_of_reference_differs(tmp_path, warned):
    path = write_rtstruct(tmp_path / "rs.dcm", solid(frame="7.7.7"), frame="7.7.7")
    assert read_structure_objects([path], image_series()).mask("organ")[0].sum() == 500
    assert warned("the frame of reference differs from that of the images")


def test_one_known_image_is_enough(tmp_path, warned):
    path = write_rtstruct(tmp_path / "rs.dcm", solid(), images=(IMAGES[3], "8.8.1", "8.8.2"))
    assert read_structure_objects([path], image_series()).mask("organ")[0].sum() == 500
    assert warned("2 of the 3 images it refers to are not in the series 'abdomen'")


def test_images_count_under_another_series_uid(tmp_path):
    path = write_rtstruct(tmp_path / "rs.dcm", solid(frame="7.7.7"), series="6.6.6", frame="7.7.7")
    assert read_structure_objects([path], image_series()).mask("organ")[0].sum() == 500


def test_without_images_the_frame_of_reference_decides(tmp_path, warned):
    path = write_rtstruct(tmp_path / "rs.dcm", solid(), referenced=False)
    assert read_structure_objects([path], image_series()).mask("organ")[0].sum() == 500
    assert warned("names no images; placed on 'abdomen' by the frame of reference")


def test_structures_of_other_images_are_refused(tmp_path):
    path = write_rtstruct(
        tmp_path / "rs.dcm", solid(frame="7.7.7"), series="6.6.6", frame="7.7.7", images=("8.8.1", "8.8.2")
    )
    with pytest.raises(InputError, match=r"rs\.dcm: the structures refer neither to images .* Put the images"):
        read_structure_objects([path], image_series())


def test_structures_in_another_frame_of_one_file_are_left_out(tmp_path, warned):
    path = write_rtstruct(tmp_path / "rs.dcm", solid("here"), solid("elsewhere", frame="7.7.7"))
    assert list(read_structure_objects([path], image_series()).names.values()) == ["here"]
    assert warned("elsewhere: lies in another frame of reference")


def test_contours_across_the_slices_are_refused(tmp_path):
    sagittal = contour(lps([(5, 5), (5, 15), (5, 10)], 4)[:6] + lps([(5, 12)], 9))
    with pytest.raises(InputError, match=r"rs\.dcm: organ: a contour spans 15\.00 mm .* Export the structures"):
        read_structure_objects([write_rtstruct(tmp_path / "rs.dcm", roi(sagittal))], image_series())


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"], "10 numbers"),
        (["1", "2", "3", "4", "nan", "6", "7", "8", "9"], "what is not a finite number"),
        (["1", "2", "3", "4", "1e999", "6", "7", "8", "9"], "what is not a finite number"),
        (["1", "2", "3", "4", "5.2.1", "6", "7", "8", "9"], "what is not a finite number"),
        (["1", "2", "3", "4", "", "6", "7", "8", "9"], "what is not a finite number"),
    ],
)
def test_damaged_contours_are_refused(tmp_path, data, problem, syntax):
    item = contour([1.0] * 9)
    path = write_rtstruct(tmp_path / "rs.dcm", roi(item))
    dataset = pydicom.dcmread(path)
    element = dataset.ROIContourSequence[0].ContourSequence[0]["ContourData"]
    with pydicom.config.disable_value_validation():
        element._value = "\\".join(data) if syntax == ExplicitVRLittleEndian else data
        element.VR = "LT" if syntax == ExplicitVRLittleEndian else "DS"
        if syntax == ImplicitVRLittleEndian:
            element.VR, element._value = "LT", "\\".join(data)  # bytes on disk are those of a DS
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    with pytest.raises(InputError, match=r"ContourData \(3006,0050\).*" + problem) as caught:
        read_structure_objects([path], image_series())
    assert "rs.dcm" in str(caught.value)
    assert "organ" in str(caught.value)
    assert "Export the structure set again" in str(caught.value)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no DICOM")
    with pytest.raises(InputError, match="an RTSTRUCT or SEG is wanted"):
        references(tmp_path / "notes.txt")
    path = write_rtstruct(tmp_path / "rs.dcm", solid())
    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.save_as(path)
    with pytest.raises(InputError, match="CT Image Storage, an RTSTRUCT or SEG is wanted"):
        references(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    contours=st.lists(
        st.tuples(
            st.lists(st.one_of(st.floats(-300, 300), st.floats(), st.sampled_from(["", "x", "1e5"])), max_size=30),
            st.sampled_from(["CLOSED_PLANAR", "CLOSED_PLANAR", "POINT", "closed"]),
        ),
        max_size=4,
    )
)
def test_broken_contours_end_in_a_clear_error_or_are_left_out(tmp_path, contours):
    items = []
    with pydicom.config.disable_value_validation():
        for data, kind in contours:
            item = Dataset()
            item.ContourGeometricType = kind
            item.add_new(0x30060050, "LT", "\\".join(str(value) for value in data))
            items.append(item)
        path = write_rtstruct(tmp_path / "rs.dcm", roi(*items), solid("liver"))
    with suppress(InputError):
        found = read_structure_objects([path], image_series())
        assert found is not None
        assert found.mask("liver")[0].sum() == 500


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("delimited", [False, True])
def test_truncated_files_are_refused_wherever_they_end(tmp_path, syntax, delimited):
    path = write_rtstruct(tmp_path / "rs.dcm", solid("liver"), solid("spleen", 16.5, 20.5))
    dataset = pydicom.dcmread(path)

    def delimit(items):
        for element in (element for item in items for element in item if element.VR == "SQ"):
            element.is_undefined_length = delimited
            delimit(element.value)

    delimit([dataset])
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    whole = path.read_bytes()
    read_structure_objects([path], image_series())
    for length in range(150, len(whole), 11):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_structure_objects([path], image_series())


def test_an_element_of_an_unknown_kind_is_refused_by_name(tmp_path):
    (path,) = write(tmp_path, [rtstruct(ct())])
    path.write_bytes(path.read_bytes() + b"SQ\0\0V\0\0\0")
    with pytest.raises(InputError, match=rf"{path.name}.*cannot be read"):
        read_structure_objects([path], image_series())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1), junk=st.binary(min_size=1, max_size=12))
def test_damaged_files_end_in_an_error_that_names_them_or_are_read(tmp_path, where, junk):
    """What is read is structures on the grid of the image, none of them larger than it or without a voxel."""
    path = write_rtstruct(tmp_path / "rs.dcm", solid("liver"), roi(contour(box(3, 9, 2), "POINT")))
    content = bytearray(path.read_bytes())
    place = 400 + int(where * (len(content) - 400))
    content[place : place + len(junk)] = junk
    path.write_bytes(content)
    try:
        found = read_structure_objects([path], image_series())
    except InputError as error:
        assert "rs.dcm" in str(error)  # noqa: PT017  (either of two outcomes is right)
        return
    for name in found.present() if found else ():
        mask, layer = found.mask(name)
        assert layer.grid == GRID
        assert 0 < mask.sum() <= mask.size


# ---------------------------------------------------------------- real files


def series_of(*paths: Path) -> ImageSeries:
    return make_series(slices_of([header for path in paths if (header := read_header(path))]))


@pytest.mark.parametrize("scan", ["SCAN_001", "SCAN_002"])
def test_lesions_of_the_lutetium_patient(real_data, warned, scan):
    folder = real_data("lu177_dotatate_2tp")
    facts = json.loads((folder / "EXPECTED.json").read_text())["scans"][scan]
    paths = sorted((folder / scan / "mask").iterdir())
    found = read_structure_objects(paths, series_of(*sorted((folder / scan / "image").iterdir())))
    assert found.tumours == {"lesion1 liver R lobe", "lesion2 liver L lateral"}
    assert warned("") == 0
    for lesion, tolerance in zip(facts["rtstruct"]["lesions"], (0.01, 0.05), strict=True):
        mask, layer = found.mask(lesion["roi_name"])
        volume_ml = mask.sum() * layer.grid.voxel_volume_ml
        assert mask.sum() == pytest.approx(lesion["voxels"], rel=tolerance)
        assert volume_ml == pytest.approx(lesion["volume_ml_polygon_area_times_slice_spacing"], rel=0.0101)
        centroid = layer.grid.world(np.argwhere(mask).mean(axis=0))
        np.testing.assert_allclose(centroid, lesion["centroid_ras_mm"], atol=0.3)


def test_missing_images_and_contours_on_them(real_data, warned):
    folder = real_data("rt_dicom") / "malformed_references"
    series = series_of(folder / "ct_1.dcm", folder / "ct_2.dcm")
    found = read_structure_objects([folder / "invalid_reference_rt.dcm"], series)
    areas_mm2 = {
        "ROI-1": (717.5, 468.6, 115.3),
        "ROI-2": (337.2, 544.0, 320.2),
        "ROI-3": (654.8, 422.4, 70.0),
        "ROI-4": (576.7, 1081.2, 535.0),
    }
    for name, areas in areas_mm2.items():
        voxels = found.mask(name)[0].sum(axis=(0, 1))
        np.testing.assert_allclose(voxels * 0.488281**2, areas[:2], rtol=0.005)
        inside, whole = sum(areas[:2]) * 5 / 1000, sum(areas) * 5 / 1000
        assert warned(f"{name}: reaches beyond the image: {inside:.2f} mL of its {whole:.2f} mL lie inside")
    assert warned("3 of the 5 images it refers to are not in the series")


def test_no_referenced_study(real_data):
    folder = real_data("rt_dicom") / "malformed_references"
    series = series_of(folder / "ct_1.dcm", folder / "ct_2.dcm")
    assert references(folder / "non_existent_reference_rt.dcm").series_uids == frozenset()
    found = read_structure_objects([folder / "non_existent_reference_rt.dcm"], series)
    same = read_structure_objects([folder / "invalid_reference_rt.dcm"], series)
    np.testing.assert_array_equal(found.layers[0].data, same.layers[0].data)
    assert list(found.names.values()) == ["ROI-1", "ROI-2", "ROI-3", "ROI-4"]


def test_a_ring_under_a_wrong_frame_of_reference(real_data, warned):
    folder = real_data("rt_dicom") / "malformed_references"
    series = series_of(folder / "ct_1.dcm", folder / "ct_2.dcm")
    found = read_structure_objects([folder / "rt.dcm"], series)
    assert found.mask("ROI-1")[0].sum() * 0.488281**2 == pytest.approx(351.5, rel=0.002)
    assert warned("the frame of reference differs")


def test_a_plan_of_which_one_image_is_left(real_data, warned):
    folder = real_data("rt_dicom") / "breast_plan"
    found = read_structure_objects([folder / "rtss.dcm"], series_of(folder / "ct.0.dcm"))
    assert found.present() == ("BODY",)
    assert warned("97 of the 98 images it refers to are not in the series")
    assert warned("Areola: has no closed contours and is left out")
    assert warned("Breast: lies outside the image and is left out")
