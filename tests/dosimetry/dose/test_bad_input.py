"""What the dose does with input that is wrong or at the edge: a clear error, or the stated rule, never infinity."""

import csv
import logging
from dataclasses import replace

import numpy as np
import pytest
from support.small_study import GRID, small_study, sphere

from dosimetry import run_patient
from dosimetry.config import load_settings
from dosimetry.dose import absorbed_dose, mass_density_g_ml
from nufitdose.anatomy.prepared import prepare_anatomy
from nufitdose.errors import InputError
from nufitdose.study import Structures, Study, TimePoint
from nufitdose.volume import Quantity, Volume

LOCAL = load_settings(None, ["registration.engine=none", "kinetics.model=mono", "dose.engine=local"])
BODY_MM = 26.0  # radius of the body; air fills the rest of the grid


def warm(value=1e5):
    return Volume(np.where(sphere(), value, 0.0).astype(np.float32), GRID, Quantity.TIA)


def body(**at):
    """A body of soft tissue in air, with these CT numbers in the voxels named."""
    hu = np.where(sphere(BODY_MM), 40.0, -1000.0).astype(np.float32)
    for value in at.values():
        hu[value[0]] = value[1]
    return Volume(hu, GRID, Quantity.HU)


@pytest.mark.parametrize("engine", ["local", "kernel", "montecarlo"])
def test_an_unknown_nuclide_is_refused_with_names_like_it(engine):
    with pytest.raises(InputError, match="'Lu-178x' is not in ICRP") as refusal:
        absorbed_dose(warm(), nuclide="Lu-178x", engine=engine)
    assert "Lu-17" in refusal.value.remedy


def test_negative_activity_is_carried_on_and_what_is_no_number_stays_where_it_is():
    """As in the engines that spread: dose is linear, and a hole in the activity is a hole in the dose."""
    found = absorbed_dose(warm(-1e5), nuclide="Lu-177", engine="local", ct=body()).dose.data
    np.testing.assert_allclose(found, -absorbed_dose(warm(), nuclide="Lu-177", engine="local", ct=body()).dose.data)
    holed = warm().data.copy()
    holed[6, 7, 5] = np.nan
    found = absorbed_dose(warm().with_data(holed), nuclide="Lu-177", engine="local", ct=body()).dose.data
    assert np.isnan(found[6, 7, 5])
    assert np.isfinite(found).sum() == found.size - 1


@pytest.mark.parametrize("engine", ["local", "kernel"])
def test_ct_numbers_that_are_none_are_held_at_air_and_bone(engine, caplog):
    """Padding of -3024 HU is air, 30000 HU are bone of 2.8 g/mL: doses stay finite, and metal is spoken of."""
    odd = body(padding=((0, 0, 0), -3024.0), metal=(slice(5, 7), 30000.0))
    anatomy = prepare_anatomy(odd, GRID)
    assert anatomy.density.data.min() == pytest.approx(float(mass_density_g_ml(-1000.0)))
    assert anatomy.density.data.max() == pytest.approx(2.8)
    with caplog.at_level(logging.WARNING):
        found = absorbed_dose(warm(), nuclide="Lu-177", engine=engine, ct=odd).dose.data
    assert np.isfinite(found).all()
    assert "taken for bone" in caplog.text
    assert f"{2 * 14 * 10 * GRID.voxel_volume_ml:.1f} mL" in caplog.text


def test_bone_is_no_metal(caplog):
    with caplog.at_level(logging.WARNING):
        prepare_anatomy(body(bone=(slice(5, 7), 1500.0)), GRID)
    assert "taken for bone" not in caplog.text


def test_a_ct_with_holes_is_refused():
    with pytest.raises(InputError, match="1 voxels of the CT are not numbers"):
        absorbed_dose(warm(), nuclide="Lu-177", engine="local", ct=body(hole=((5, 5, 5), np.nan)))


def test_a_ct_of_another_frame_is_refused():
    affine = np.array(GRID.affine)
    affine[:3, 3] += 5000.0
    elsewhere = Volume(body().data, replace(GRID, affine=affine), Quantity.HU)
    with pytest.raises(InputError, match="covers no voxel of the activity"):
        absorbed_dose(warm(), nuclide="Lu-177", engine="local", ct=elsewhere)


def test_air_in_the_body_is_floored_and_outside_it_masked(caplog):
    """20 mL of gas within the body: dose by the floor of 0.2 g/mL, and said; air outside: none."""
    gas = np.zeros(GRID.shape, bool)
    gas[5:7, 6:8, 4:6] = True
    with caplog.at_level(logging.WARNING):
        found = absorbed_dose(
            Volume(np.full(GRID.shape, 1e5, np.float32), GRID, Quantity.TIA),
            nuclide="Lu-177", engine="local", ct=body(gas=(gas, -990.0)),
        ).dose.data  # fmt: skip
    tissue = found[sphere(20.0) & ~sphere(16.0)].mean()
    assert found[gas].max() == pytest.approx(tissue * float(mass_density_g_ml(40.0)) / 0.2, rel=0.01)
    outside = ~sphere(BODY_MM + 8.0)
    assert outside.sum() > 100
    assert (found[outside] == 0.0).all()
    assert "thinner than 0.2 g/mL" in caplog.text


def test_a_structure_without_tissue_has_finite_numbers_and_is_spoken_of(tmp_path):
    """A structure drawn in the air beside the body weighs next to nothing: no dose, no infinity, a warning."""
    labels = np.zeros(GRID.shape, np.uint8)
    labels[:2, :2, :2] = 1
    drawn = Structures((Volume(labels, GRID, Quantity.LABELS),), {1: "spleen"})
    points = []
    for point in small_study().timepoints:
        activity = point.activity.data + np.where(labels, np.float32(1e4), np.float32(0.0))
        scan = Volume(activity, GRID, Quantity.ACTIVITY)
        points.append(TimePoint.of(point.id, point.time_h, scan, body(), None if points else drawn))
    study = Study("P", "Lu-177", small_study().administration, "tp1", tuple(points))
    results = run_patient(study, tmp_path / "out", LOCAL)
    (spleen,) = results.structures
    assert spleen.dose["dose_mean_gy"] == 0.0
    assert 0.0 < spleen.mass_g < 0.01 * spleen.volume_ml
    assert any("outside the body that the CT shows" in warning for warning in results.warnings)
    with (tmp_path / "out/metrics.csv").open() as file:
        for row in csv.DictReader(file):
            assert not {value for value in row.values() if value.lstrip("-") in ("inf", "nan")}
