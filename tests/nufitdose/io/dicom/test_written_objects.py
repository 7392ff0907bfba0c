"""Structures, registrations, maps and numbers as DICOM: by the standard, by other programs, and read back."""

import csv
import math

import highdicom
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from support.programs import run_program, standard_errors

from dosimetry.metrics import DoseVolume
from nufitdose.anatomy.regions import region_on
from nufitdose.grid import Grid
from nufitdose.image_sources import ImageSource, ImageSources
from nufitdose.io.dicom.read.headers import read_header
from nufitdose.io.dicom.read.rtdose import load_rtdose
from nufitdose.io.dicom.read.rtstruct import rtstruct_regions
from nufitdose.io.dicom.read.segmentation import segmentation_regions
from nufitdose.io.dicom.write.measurements import Measured, MeasuredStructure, write_measurements
from nufitdose.io.dicom.write.orientation import in_cells, towards_lps
from nufitdose.io.dicom.write.outlines import outlines
from nufitdose.io.dicom.write.parametric_map import MapQuantity, write_parametric_map
from nufitdose.io.dicom.write.placement import place_on
from nufitdose.io.dicom.write.registration import write_registration
from nufitdose.io.dicom.write.rtdose import Histogram, write_rtdose
from nufitdose.io.dicom.write.rtstruct import write_rtstruct
from nufitdose.io.dicom.write.segmentation import write_segmentation
from nufitdose.io.polygons import fill, outline
from nufitdose.study import Administration, Structures, Study, TimePoint
from nufitdose.volume import Quantity, Volume

NAMES = {1: "Leber größer", 2: "Bruchstücke", 3: "leer", 4: "tumour_1"}
MEAN = ("128533", "DCM", "Mean Absorbed Radiation Dose")


def grid_of(kind: str) -> Grid:
    affine = np.diag([-2.5, -3.0, 4.0, 1.0])
    if kind == "oblique":
        a, b = 0.3, 0.2
        about_x = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
        about_z = np.array([[math.cos(b), -math.sin(b), 0], [math.sin(b), math.cos(b), 0], [0, 0, 1]])
        affine[:3, :3] = about_z @ about_x @ affine[:3, :3]
    elif kind == "RAS":
        affine = np.diag([2.5, 3.0, 4.0, 1.0])
    affine[:3, 3] = (30.0, 35.0, -40.0)
    return Grid((26, 24, 20), affine)


def radius_mm(grid: Grid, off=(0.0, 0.0, 0.0)) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(float(n)) for n in grid.shape], indexing="ij"), -1)
    return np.linalg.norm(grid.world(index) - grid.centre_mm - np.array(off), axis=-1)


def structures_on(grid: Grid) -> Structures:
    """A liver with two holes, fragments, one without voxels, and a tumour over the liver."""
    ball = (radius_mm(grid) < 27) & (radius_mm(grid, (9, 0, 0)) > 7) & (radius_mm(grid, (-9, -4, 0)) > 6)
    rng = np.random.default_rng(0)
    labels, over = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.uint8)
    labels[ball] = 1
    labels[(rng.random(grid.shape) < 0.1) & (radius_mm(grid) > 29)] = 2
    over[radius_mm(grid) < 12] = 4
    layers = tuple(Volume(layer, grid, Quantity.LABELS) for layer in (labels, over))
    return Structures(layers, NAMES, frozenset({"tumour_1"}))


def study_on(grid: Grid, source: ImageSource | None) -> Study:
    activity, drawn = Volume(np.ones(grid.shape), grid, Quantity.ACTIVITY), structures_on(grid)
    scan = TimePoint("tp1", 4.0, lambda: activity, None, lambda: drawn, None, ImageSources(source) if source else None)
    dicom = {
        "PatientName": "Müller^Änne", "PatientID": "P-17", "PatientBirthDate": "19500102", "PatientSex": "F",
        "StudyInstanceUID": "1.2.840.1.7.1", "FrameOfReferenceUID": "1.2.840.1.7.3", "AccessionNumber": "A1",
        "StudyDate": "20240101", "StudyTime": "130000",
    }  # fmt: skip
    return Study(
        "P-17" if source else "P^7", "Lu-177", Administration(7400.0), "tp1", (scan,), dicom if source else None
    )


PT = "1.2.840.10008.5.1.4.1.1.128"
SLICES = ImageSource(
    "1.2.840.1.7.1", "1.2.840.1.7.2", "1.2.840.1.7.3", PT, tuple(f"1.2.840.1.7.4.{k}" for k in range(1, 21)),
    "20240101", "130000",
)  # fmt: skip
WHOLE = ImageSource(
    "1.2.840.1.7.1", "1.2.840.1.7.2", "1.2.840.1.7.3", "1.2.840.10008.5.1.4.1.1.20", ("1.2.840.1.7.4.1",)
)


@pytest.fixture(scope="module", params=["LPS of slices", "LPS of one object", "RAS", "oblique of slices"])
def written(request, tmp_path_factory):
    """The folder of one object of each kind, and what they were made of."""
    kind, _, of = request.param.partition(" of ")
    grid, source = grid_of(kind), {"": None, "slices": SLICES, "one object": WHOLE}[of]
    study, folder = study_on(grid, source), tmp_path_factory.mktemp("objects")
    place = place_on(study, study.reference, grid)
    dose = Volume(30.0 * np.exp(-radius_mm(grid, (40, 20, 50)) / 60.0), grid, Quantity.DOSE)
    contours = write_rtstruct(study.structures, place, folder / "rtstruct.dcm")
    histogram = Histogram(1, 0.5, np.linspace(60.0, 0.0, 61), 10.0, 20.0, 30.0)
    write_rtdose(in_cells(dose), place.dicom, folder / "rtdose.dcm", histograms=(histogram,), structure_set=contours)
    segments = write_segmentation(study.structures, place, folder / "seg.dcm")
    unknown = dose.data.copy()
    unknown[0, 0, 0] = np.nan
    what = MapQuantity("TIA", "Time-integrated activity", "Bq.h/mL", "becquerel hours per milliliter")
    write_parametric_map(dose.with_data(unknown, Quantity.TIA), what, place, folder / "map.dcm")
    field = np.random.default_rng(1).normal(0.0, 9.0, (3, *grid.shape)).astype(np.float32)
    write_registration(field, grid, place, place, folder / "reg.dcm")
    numbers = MeasuredStructure("Leber größer", 1, (Measured(MEAN, 12.25, ("Gy", "UCUM", "gray"), 0.5),))
    write_measurements([numbers], segments, place.source.series_uid if place.source else "1.2.3", folder / "sr.dcm")
    return folder, study, dose, field


@pytest.mark.parametrize("name", ["rtdose", "rtstruct", "seg", "map", "reg", "sr"])
def test_dciodvfy_finds_nothing_against_the_standard(written, name):
    assert standard_errors(written[0] / f"{name}.dcm") == []


def test_dcmtk_reads_every_object_to_its_end(written):
    for path in sorted(written[0].glob("*.dcm")):
        said = run_program("dcmdump", "+P", "PatientName", "+P", "SOPClassUID", path)
        assert "E:" not in said, path.name
        assert "(0010,0010)" in said


def test_one_patient_and_one_study_stand_in_all(written):
    folder, study, _, _ = written
    files = [pydicom.dcmread(path) for path in folder.glob("*.dcm")]
    for word in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyDate", "AccessionNumber"):
        assert len({str(file[word].value) for file in files}) == 1, word
    assert str(files[0].PatientName) == ("Müller^Änne" if study.dicom else "P^7")
    assert len({file.FrameOfReferenceUID for file in files if "FrameOfReferenceUID" in file}) == 1
    assert len({file.SOPInstanceUID for file in files}) == len(files)


def _voxels(regions, grid: Grid) -> dict[str, np.ndarray]:
    found = {}
    for region in regions:
        found[region.name] = np.zeros(grid.shape, bool)
        found[region.name][region.box] = region.mask
    return found


def test_rtstruct_and_seg_come_back_voxel_by_voxel(written):
    """Holes, fragments, umlauts, a structure over another; the one without voxels is in neither."""
    folder, study, _, _ = written
    grid = towards_lps(study.structures.layers[0]).grid
    for read in (
        rtstruct_regions(read_header(folder / "rtstruct.dcm"), frozenset(), grid),
        segmentation_regions(read_header(folder / "seg.dcm"), grid, shares_frame=True),
    ):
        found = _voxels(read, grid)
        assert set(found) == set(NAMES.values()) - {"leer"}
        for name, mask in found.items():
            was, layer = study.structures.mask(name)
            np.testing.assert_array_equal(mask, towards_lps(layer.with_data(was.astype(np.uint8))).data > 0, name)
    assert {
        r.name for r in segmentation_regions(read_header(folder / "seg.dcm"), grid, shares_frame=True) if r.tumour
    } == {"tumour_1"}


def test_objects_refer_to_the_images_they_lie_on_and_to_no_others(written):
    folder, study, _, _ = written
    known = set(study.reference.sources.activity.sop_instance_uids) if study.reference.sources else set()
    of_study = (study.dicom or {}).get("StudyInstanceUID")
    for name in ("rtstruct", "seg", "map", "reg"):
        file = pydicom.dcmread(folder / f"{name}.dcm")
        named = {
            str(element.value)
            for element in file.iterall()
            if element.keyword == "ReferencedSOPInstanceUID" and element.value != of_study
        }
        assert named == known, name
    dose, contours = pydicom.dcmread(folder / "rtdose.dcm"), pydicom.dcmread(folder / "rtstruct.dcm")
    assert dose.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == contours.SOPInstanceUID
    assert (
        dose.DVHSequence[0].DVHReferencedROISequence[0].ReferencedROINumber
        == contours.StructureSetROISequence[0].ROINumber
    )
    assert dose.DVHSequence[0].DVHNumberOfBins * 2 == len(dose.DVHSequence[0].DVHData)


def test_doses_lie_along_the_patient_and_each_cell_holds_its_voxel(written):
    folder, _, dose, _ = written
    file = pydicom.dcmread(folder / "rtdose.dcm")
    assert list(file.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
    assert max(*file.PixelSpacing, file.GridFrameOffsetVector[1]) <= 2.0
    back = load_rtdose(folder / "rtdose.dcm")
    cells = np.random.default_rng(3).integers(0, back.grid.shape, (400, 3))
    voxels = np.floor(dose.grid.index(back.grid.world(cells.astype(float))) + 0.5).astype(int)
    inside = ((voxels >= 0) & (voxels < dose.grid.shape)).all(axis=1)
    assert inside.sum() > 100
    np.testing.assert_allclose(
        back.data[tuple(cells[inside].T)], dose.data[tuple(voxels[inside].T)], atol=1e-5 * dose.data.max()
    )
    assert not back.data[tuple(cells[~inside].T)].any()


def test_a_map_holds_its_values_in_its_unit(written):
    folder, _, dose, _ = written
    image = highdicom.imread(folder / "map.dcm")
    volume = image.get_volume(apply_real_world_transform=False)
    assert (volume.array == -1.0).sum() == 1  # the voxel that is not known
    for index in np.random.default_rng(5).integers(1, dose.grid.shape, (200, 3)):
        lps = dose.grid.world(index.astype(float)) * (-1, -1, 1)
        a, b, c = np.rint((np.linalg.inv(volume.affine) @ [*lps, 1.0])[:3]).astype(int)
        assert volume.array[a, b, c] == dose.data[tuple(index)]
    assert image.FloatPixelPaddingValue == -1.0
    mapping = pydicom.dcmread(folder / "map.dcm").SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "Bq.h/mL"


def test_a_registration_leads_from_the_reference_into_the_scan(written):
    """PS3.3 C.20.3.1.3: source = registered + the vector of the grid there; LPS, x fastest."""
    folder, _, dose, field = written
    item = pydicom.dcmread(folder / "reg.dcm").DeformableRegistrationSequence[0]
    lattice = item.DeformableRegistrationGridSequence[0]
    a, b, c = lattice.GridDimensions
    vectors = np.frombuffer(lattice.VectorGridData, "<f4").reshape(c, b, a, 3)
    row, column = np.array(lattice.ImageOrientationPatient, float).reshape(2, 3)
    axes = np.stack([row, column, np.cross(row, column)], axis=1) * np.array(lattice.GridResolution)
    for index in np.random.default_rng(2).integers(0, (a, b, c), (50, 3)):
        lps = np.array(lattice.ImagePositionPatient, float) + axes @ index
        i, j, k = np.rint(dose.grid.index(lps * (-1, -1, 1))).astype(int)
        np.testing.assert_allclose(dose.grid.world(np.array([i, j, k], float)) * (-1, -1, 1), lps, atol=1e-3)
        np.testing.assert_allclose(vectors[index[2], index[1], index[0]], field[:, i, j, k] * (-1, -1, 1))


def test_the_report_holds_the_number_its_uncertainty_and_its_segment(written):
    report = highdicom.sr.srread(written[0] / "sr.dcm")
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    assert group.tracking_identifier == "Leber größer"
    value, uncertainty = group.get_measurements()
    assert (value.value, value.unit.value, value.name.value) == (12.25, "Gy", "128533")
    assert (uncertainty.value, uncertainty.derivation.meaning) == (0.5, "Standard uncertainty")
    segments = pydicom.dcmread(written[0] / "seg.dcm")
    assert group.tracking_uid == segments.SegmentSequence[0].TrackingUID


def test_equal_content_is_one_object(written, tmp_path):
    folder, study, _, _ = written
    place = place_on(study, study.reference, study.structures.layers[0].grid)
    write_rtstruct(study.structures, place, tmp_path / "again.dcm")
    assert (tmp_path / "again.dcm").read_bytes() == (folder / "rtstruct.dcm").read_bytes()
    again = write_segmentation(study.structures, place, tmp_path / "seg.dcm")
    assert again.SOPInstanceUID == pydicom.dcmread(folder / "seg.dcm").SOPInstanceUID


@settings(max_examples=150)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_outlines_enclose_the_voxels_whether_contours_are_filled_one_by_one_or_by_even_odd(plane):
    polygons = list(outlines(plane))
    together, apart = np.zeros_like(plane), np.zeros_like(plane)
    if polygons:
        fill(outline(polygons), together, 0, 0)
    for polygon in polygons:
        alone = np.zeros_like(plane)
        fill(outline([polygon]), alone, 0, 0)
        apart |= alone
    np.testing.assert_array_equal(together, plane)
    np.testing.assert_array_equal(apart, plane)


def test_a_ring_in_a_ring_in_a_ring_is_drawn():
    plane = np.ones((15, 15), bool)
    for n, value in ((2, False), (4, True), (6, False)):
        plane[n : 15 - n, n : 15 - n] = value
    polygons = list(outlines(plane))
    assert len(polygons) == 2  # each with its hole joined to it
    again = np.zeros_like(plane)
    fill(outline(polygons), again, 0, 0)
    np.testing.assert_array_equal(again, plane)


def test_plastimatch_finds_the_same_histograms(tmp_path):
    """It interpolates the dose between voxels, we do not: the dose here is smooth over a voxel."""
    grid = Grid((60, 60, 40), np.array([[-2.0, 0, 0, 60], [0, -2.0, 0, 60], [0, 0, 2.0, -40], [0, 0, 0, 1]]))
    liver = (radius_mm(grid) < 36) & (radius_mm(grid, (12, 0, 0)) > 10) & (radius_mm(grid, (-12, -6, 0)) > 9)
    labels = liver.astype(np.uint8) + 2 * (radius_mm(grid, (-12, -6, 0)) < 8)
    drawn = Structures((Volume(labels, grid, Quantity.LABELS),), {1: "Leber größer", 2: "tumour_1"}, frozenset())
    study = study_on(grid, None)
    place = place_on(study, study.reference, grid)
    dose = Volume(40.0 * np.exp(-radius_mm(grid, (30, 20, 10)) / 80.0), grid, Quantity.DOSE)
    contours = write_rtstruct(drawn, place, tmp_path / "rtstruct.dcm")
    write_rtdose(dose, place.dicom, tmp_path / "rtdose.dcm", structure_set=contours)
    run_program("plastimatch", "dvh", "--input", tmp_path, "--output-csv", tmp_path / "dvh.csv",
                "--num-bins", "4100", "--bin-width", "0.01")  # fmt: skip
    names, *rows = csv.reader((tmp_path / "dvh.csv").read_text(encoding="utf-8").splitlines())
    table = np.array(rows, float)
    assert names[1:] == ["Leber größer", "tumour_1"]
    for column, name in enumerate(names[1:], start=1):
        ours = DoseVolume.of(dose.data[drawn.mask(name)[0]], np.full(drawn.mask(name)[0].sum(), grid.voxel_volume_ml))
        theirs = 100.0 * table[:, column]
        mean = float(theirs[1:].sum() / 100.0 * 0.01)
        assert mean == pytest.approx(ours.mean_gy, rel=0.01)
        for percent in (98.0, 90.0, 50.0, 10.0, 2.0):
            reached = table[np.flatnonzero(theirs >= percent)[-1], 0]
            assert reached == pytest.approx(ours.d_percent(percent), rel=0.01), (name, percent)


def _about(shape, spacing_mm):
    """A grid along L, P, S around the origin."""
    affine = np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def _interpolated_doses(dose: Volume, mask, grid: Grid) -> np.ndarray:
    """Trilinear between the points of `dose`, at 13 x 13 points of each voxel of the mask in the plane of its slice."""
    parts = (np.arange(13) + 0.5) / 13 - 0.5
    offsets = np.array([(a, b, 0.0) for a in parts for b in parts])
    points = grid.world((np.argwhere(mask)[:, None] + offsets).reshape(-1, 3))
    return ndimage.map_coordinates(dose.data, dose.grid.index(points).T, order=1, mode="nearest")


@pytest.mark.parametrize("drawn_mm", [6.0, 2.0])
def test_plastimatch_reads_a_dose_of_steps_as_interpolation_has_it_and_cells_keep_it_near_ours(tmp_path, drawn_mm):
    """Voxels of 6 mm, eight times the dose in a ball of 14 mm radius: the worst that an edge does.

    It draws the contours on 512 x 512 points of each slice and interpolates the dose between its points there. Of all
    structures together it leaves out the last slice: the body around the ball takes that.
    """
    coarse, count = _about((24, 24, 20), 6.0), round(6.0 / drawn_mm)
    fine = _about((24 * count, 24 * count, 20 * count), drawn_mm)
    dose = Volume(5.0 + 35.0 * (radius_mm(coarse, (-30, 0, 0)) < 14), coarse, Quantity.DOSE)
    mask = radius_mm(fine, (-30, 0, 0)) < 14
    body = (radius_mm(fine, (-20, 0, 0)) < 40) & ~mask
    labels = Volume(mask + np.uint8(2) * body, fine, Quantity.LABELS)
    drawn = Structures((labels,), {1: "tumour_1", 2: "body"}, frozenset())
    place = place_on(study_on(fine, None), study_on(fine, None).reference, fine)
    contours = write_rtstruct(drawn, place, tmp_path / "rtstruct.dcm")
    write_rtdose(in_cells(dose), place.dicom, tmp_path / "rtdose.dcm", structure_set=contours)
    run_program("plastimatch", "dvh", "--input", tmp_path, "--output-csv", tmp_path / "dvh.csv",
                "--num-bins", "4100", "--bin-width", "0.01")  # fmt: skip
    table = np.loadtxt(tmp_path / "dvh.csv", delimiter=",", skiprows=1)
    theirs = float(table[1:, 1].sum() * 0.01)  # a bin holds what reaches its middle
    read = _interpolated_doses(load_rtdose(tmp_path / "rtdose.dcm"), mask, fine)
    assert theirs == pytest.approx(read.mean(), rel=0.01)
    for share in (0.02, 0.5):
        assert table[np.flatnonzero(table[:, 1] >= share)[-1], 0] == pytest.approx(np.quantile(read, 1.0 - share), 0.01)
    region = region_on(mask, fine, coarse)
    ours = DoseVolume.of(region.values(dose), region.part_ml).mean_gy
    assert theirs == pytest.approx(ours, rel=0.035 if drawn_mm == 6.0 else 0.017)
    without_cells = _interpolated_doses(dose, mask, fine).mean()
    assert abs(theirs - ours) < 0.5 * abs(without_cells - ours)


def test_counting_cells_of_an_oblique_dose_gives_our_histogram(tmp_path):
    """As dicompyler counts: each point of the RTDOSE inside the structure is a count of its dose, none interpolated."""
    grid = grid_of("oblique")
    labels = _about((60, 60, 60), 1.5)
    affine = np.array(labels.affine)
    affine[:3, 3] += grid.centre_mm
    fine = Grid(labels.shape, affine)
    mask = radius_mm(fine, (4, -3, 2)) < 20
    dose = Volume(30.0 * np.exp(-radius_mm(grid, (40, 20, 50)) / 25.0), grid, Quantity.DOSE)
    place = place_on(study_on(grid, None), study_on(grid, None).reference, grid)
    write_rtdose(in_cells(dose), place.dicom, tmp_path / "rtdose.dcm")
    read = load_rtdose(tmp_path / "rtdose.dcm")
    cells = read.grid.world(np.stack(np.meshgrid(*map(np.arange, read.grid.shape), indexing="ij"), -1).reshape(-1, 3))
    inside = np.linalg.norm(cells - fine.centre_mm - (4, -3, 2), axis=1) < 20
    counted = np.sort(read.data.reshape(-1)[inside])[::-1]
    region = region_on(mask, fine, grid)
    ours = DoseVolume.of(region.values(dose), region.part_ml)
    assert counted.mean() == pytest.approx(ours.mean_gy, rel=0.01)
    for percent in (98.0, 90.0, 50.0, 10.0, 2.0):
        assert counted[int(percent / 100 * counted.size) - 1] == pytest.approx(ours.d_percent(percent), rel=0.01), (
            percent
        )
    for gy in (3.0, 6.0, 9.0):
        assert 100.0 * (counted >= gy).mean() == pytest.approx(ours.v_percent(gy), abs=1.0)


def test_structures_without_voxels_are_named_and_left_out(tmp_path, caplog):
    study = study_on(grid_of("LPS"), None)
    place = place_on(study, study.reference, study.structures.layers[0].grid)
    write_rtstruct(study.structures, place, tmp_path / "s.dcm")
    assert "'leer' has no voxels" in caplog.text


def test_objects_of_a_study_whose_patient_was_renamed_by_hand_tell_nothing_of_the_one_before(caplog):
    study = study_on(grid_of("LPS"), SLICES)
    renamed = Study("ANON", "Lu-177", study.administration, "tp1", study.timepoints, study.dicom)
    place = place_on(renamed, renamed.reference, grid_of("LPS"))
    assert place.dicom["PatientID"] == place.dicom["PatientName"] == "ANON"
    assert not {"Müller^Änne", "P-17", "19500102", "A1"} & set(place.dicom.values())
    assert not any("1.2.840.1.7" in text for text in (*place.dicom.values(), *place.source.sop_instance_uids))
    assert "names another patient" in caplog.text
