"""Digital spheres of known activity, blurred by a known Gaussian: the command finds resolution and recovery."""

import numpy as np
import pytest

from nufitdose.anatomy.regions import region_on
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.nifti import save_volume
from nufitdose.io.study_folder import read_scanner
from nufitdose.psf import blur, sphere_recovery
from nufitdose.spheres import fit_recovery, read_spheres
from nufitdose.spheres.command import read_scan, run_recovery
from nufitdose.volume import Quantity, Volume

_DIAMETERS_MM = (10.0, 13.0, 17.0, 22.0, 28.0, 37.0)
_TRUTH, _BACKGROUND = 8e5, 8e4
_FWHM = (12.0, 12.0, 11.0)
_FINE = Grid.from_spacing((104, 104, 56), (2.0, 2.0, 2.0))
_COARSE = Grid.from_spacing((52, 52, 28), (4.0, 4.0, 4.0))


def phantom(noise=0.0, onto=_COARSE):
    """The image on `onto` and the label map on 2 mm voxels, spheres on a circle of 57.2 mm as NEMA has them."""
    points = _FINE.world(np.argwhere(np.ones(_FINE.shape))).reshape(*_FINE.shape, 3) - _FINE.centre_mm
    labels = np.zeros(_FINE.shape, dtype=np.uint8)
    for number, diameter in enumerate(_DIAMETERS_MM):
        angle = number * np.pi / 3.0
        centre = 57.2 * np.array([np.cos(angle), np.sin(angle), 0.0])
        labels[np.linalg.norm(points - centre, axis=-1) < diameter / 2.0] = number + 1
    true = np.where(labels > 0, _TRUTH, _BACKGROUND).astype(np.float32)
    image = Volume(blur(true, _FWHM, _FINE.spacing_mm, extend=True), _FINE, Quantity.ACTIVITY).averaged_onto(onto)
    noisy = image.data + np.random.default_rng(5).normal(0.0, noise, image.data.shape)
    return image.with_data(noisy), Volume(labels, _FINE, Quantity.LABELS)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spheres")
    for name, volume in zip(("activity", "labels"), phantom(noise=2e4), strict=True):
        save_volume(volume, folder / f"{name}.nii.gz")
    return folder


def run(scan, out, **changes):
    given = {"labels": scan / "labels.nii.gz", "truth_bq_ml": _TRUTH, "background_bq_ml": _BACKGROUND, "name": "S"}
    return run_recovery(scan / "activity.nii.gz", out, **{**given, **changes})


def test_resolution_and_recovery_of_the_spheres_are_found(scan, tmp_path):
    said = run(scan, tmp_path / "scanner.yaml")
    found = read_scanner(tmp_path / "scanner.yaml")
    assert found.fwhm_mm == pytest.approx(_FWHM, rel=0.03)
    assert found.recovery is not None
    activity, regions = read_scan(scan / "activity.nii.gz", scan / "labels.nii.gz")
    for reading in read_spheres(activity, regions, _TRUTH, _BACKGROUND):
        assert found.recovery.value(reading.volume_ml) == pytest.approx(reading.recovery, abs=0.04)
    assert "sphere_6" in said
    assert "held out" in said


def test_recovery_is_that_of_a_sphere_seen_with_a_gaussian():
    image, labels = phantom(onto=_FINE)
    regions = {f"s{n}": region_on(labels.data == n, _FINE, _FINE) for n in range(1, len(_DIAMETERS_MM) + 1)}
    width = float(np.prod(_FWHM)) ** (1.0 / 3.0)
    for reading in read_spheres(image, regions, _TRUTH, _BACKGROUND):
        assert reading.recovery == pytest.approx(sphere_recovery(reading.volume_ml, width), rel=0.02)


def test_spheres_held_out_lie_within_their_uncertainty(scan):
    activity, regions = read_scan(scan / "activity.nii.gz", scan / "labels.nii.gz")
    fit = fit_recovery(read_spheres(activity, regions, _TRUTH, _BACKGROUND))
    assert len(fit.held_out) == len(_DIAMETERS_MM)
    pulls = [(row.measured - row.predicted) / row.u for row in fit.held_out]
    assert np.sqrt(np.mean(np.square(pulls))) < 2.0
    assert max(np.abs(pulls)) < 3.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"truth_bq_ml": -1.0}, "positive"),
        ({"background_bq_ml": 9e5}, "less than the spheres"),
        ({"truth_bq_ml": 800.0, "background_bq_ml": 0.0}, "a recovery of"),
        ({"labels": None}, "no --labels"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_file(scan, tmp_path, changes, says):
    with pytest.raises(InputError, match=says) as caught:
        run(scan, tmp_path / "scanner.yaml", **changes)
    assert "activity.nii.gz" in str(caught.value)
    assert not (tmp_path / "scanner.yaml").exists()


def test_two_spheres_are_too_few(scan, tmp_path):
    _, labels = phantom()
    save_volume(labels.with_data(np.where(labels.data > 4, labels.data, 0)), tmp_path / "two.nii.gz")
    with pytest.raises(InputError, match="2 volumes were given"):
        run(scan, tmp_path / "scanner.yaml", labels=tmp_path / "two.nii.gz")


def test_a_file_that_is_there_is_kept(scan, tmp_path):
    (tmp_path / "scanner.yaml").write_text("mine")
    with pytest.raises(InputError, match="already"):
        run(scan, tmp_path / "scanner.yaml")
    assert (tmp_path / "scanner.yaml").read_text() == "mine"
