"""Patients taken from images: a label map with and without CT, the ICRP reference man, a real CT with labels."""

import json

import numpy as np
import pytest

from nufitdose import load_volume
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.nifti import save_volume
from nufitdose.phantom import LabelledImages, PatientSettings, simulate_patient
from nufitdose.phantom.command import read_body
from nufitdose.phantom.icrp110 import read_icrp110
from nufitdose.phantom.image_anatomy import anatomy_from_images
from nufitdose.volume import Quantity, Volume

_BOX = (np.full(3, -60.0), np.full(3, 60.0))


def ball(centre, radius, grid):
    points = grid.world(np.moveaxis(np.indices(grid.shape, dtype=np.float64), 0, -1))
    return np.linalg.norm(points - centre, axis=-1) < radius


@pytest.fixture
def labels():
    grid = Grid.from_spacing((60, 60, 60), (3.0, 3.0, 3.0))
    data = np.zeros(grid.shape, dtype=np.uint8)
    data[ball((0.0, 0.0, 0.0), 80.0, grid)] = 1
    data[ball((20.0, 0.0, 0.0), 40.0, grid)] = 7
    return Volume(data, grid, Quantity.LABELS)


def test_labels_alone_keep_their_volumes_and_show_the_hu_of_their_tissues(labels):
    anatomy = anatomy_from_images(
        labels, {1: "muscle_trunk", 7: "Liver"}, None, np.random.default_rng(1), inside_mm=_BOX
    )
    fine = Grid.from_spacing((90, 90, 90), (2.0, 2.0, 2.0))
    composition = anatomy.compose(fine)
    volumes = composition.volumes_ml(len(anatomy.compartments))
    names = [compartment.structure for compartment in anatomy.compartments]
    liver = (labels.data == 7).sum() * labels.grid.voxel_volume_ml
    assert volumes[names.index("liver")] == pytest.approx(liver, rel=1e-6)
    assert anatomy.hu(composition)[45, 45, 45] == pytest.approx(58.0)


def test_a_shift_moves_labels_and_ct_alike(labels):
    ct = Volume(np.where(labels.data == 7, 60.0, np.where(labels.data == 1, -100.0, -1000.0)), labels.grid, Quantity.HU)
    anatomy = anatomy_from_images(labels, {1: "fat", 7: "liver"}, ct, np.random.default_rng(1), inside_mm=_BOX)
    pull = np.zeros((3, *labels.grid.shape), dtype=np.float32)
    pull[0] = -9.0
    moved = anatomy.compose(labels.grid, pull, subsamples=1)
    at_rest = anatomy.compose(labels.grid, subsamples=1)
    assert np.array_equal(moved.labels[3:], at_rest.labels[:-3])
    assert np.array_equal(anatomy.hu(moved, pull)[3:], ct.data[:-3])


def test_unlabelled_tissue_is_told_by_its_hu_and_tumours_are_planted(labels):
    data = np.where(labels.data > 0, 50.0, -1000.0)
    data[28:32, 10:14, 28:32] = 900.0
    ct = Volume(data, labels.grid, Quantity.HU)
    only_liver = labels.with_data(np.where(labels.data == 7, 7, 0).astype(np.uint8))
    anatomy = anatomy_from_images(
        only_liver, {7: "liver"}, ct, np.random.default_rng(2), inside_mm=_BOX, tumour_sites=("liver",)
    )
    tissues = {compartment.tissue for compartment in anatomy.compartments}
    assert {"muscle", "spongiosa", "liver"} <= tissues
    assert anatomy.tumours == {"tumour_1"}
    composition = anatomy.compose(labels.grid)
    number = next(n for n, compartment in enumerate(anatomy.compartments) if compartment.structure == "tumour_1")
    inside = labels.grid.world(np.argwhere(composition.labels == number).astype(float))
    assert len(inside) > 5
    assert ball((20.0, 0.0, 0.0), 44.0, labels.grid)[composition.labels == number].mean() > 0.5


def test_a_label_without_a_name_or_a_ct_without_labels_is_refused(labels, tmp_path):
    with pytest.raises(InputError, match="have no name"):
        simulate_patient(
            PatientSettings(images=LabelledImages(labels, {1: "muscle"}), shape=(20, 20, 20), spacing_mm=9.0)
        )
    save_volume(labels.with_data(labels.data.astype(np.float32), Quantity.HU), tmp_path / "ct.nii.gz")
    with pytest.raises(InputError, match="without its labels"):
        read_body(None, None, tmp_path / "ct.nii.gz", None)


@pytest.mark.slow
def test_the_icrp_reference_man_is_a_patient(real_data):
    labels, names = read_icrp110(real_data("icrp110_am"))
    made = simulate_patient(
        PatientSettings(
            images=LabelledImages(labels, names),
            shape=(64, 44, 60),
            spacing_mm=6.0,
            seed=2,
            times_h=(4.0, 24.0),
            tumours=2,
            tumour_sites=("bone",),
        )
    )
    organs = {row.structure: row for row in made.truth.organs}
    # 1799.78 g and 149.97 g of the table, density 1.05 and 1.04 g/mL
    assert organs["liver"].volume_ml == pytest.approx(1799.78 / 1.05, rel=0.06)
    assert organs["spleen"].volume_ml == pytest.approx(149.97 / 1.04, rel=0.02)
    assert organs["kidney_left"].volume_ml == pytest.approx(152.98 / 1.05, rel=0.02)
    assert {"liver", "kidney_left", "kidney_right", "tumour_1"} <= set(made.study.structures.present())
    assert np.linalg.norm(made.truth.timepoint("tp2").field, axis=0).max() > 3.0


@pytest.mark.slow
def test_a_real_ct_with_labels_is_a_patient(real_data):
    folder = real_data("totalseg_ct")
    table = json.loads((folder / "labels.json").read_text())["names"]
    names = {int(k): v for k, v in table.items()}
    made = simulate_patient(
        PatientSettings(
            images=LabelledImages(
                load_volume(folder / "abdomen_crop_seg_3mm.nii.gz", Quantity.LABELS),
                names,
                load_volume(folder / "abdomen_crop_ct_3mm.nii.gz", Quantity.HU),
            ),
            centre_z_mm=50.0,
            shape=(60, 50, 16),
            spacing_mm=6.0,
            times_h=(4.0, 30.0),
            seed=1,
            tumours=1,
        )
    )
    organs = {row.structure: row for row in made.truth.organs}
    assert organs["spleen"].volume_ml == pytest.approx(255.2, rel=0.02)  # measured on the label map
    assert made.truth.ct.data[made.truth.labels.data == 0].size > 0
