"""Recovery on phantoms whose truth is known on paper: uniform parts are found again, totals stay."""

import logging
from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from dosimetry.config import RecoverySettings
from dosimetry.recovery import correct_frames, plan_recovery
from dosimetry.structures import regions_of
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.psf import blur, sphere_recovery
from nufitdose.registration import DisplacementField, Registration, RegistrationQuality
from nufitdose.registration.series import overlay_series
from nufitdose.scanner import RecoveryCurve, Scanner
from nufitdose.study import Administration, Structures, Study, TimePoint
from nufitdose.volume import Quantity, Volume

_GRID = Grid.from_spacing((44, 40, 36), (4.0, 4.0, 4.5))
_FWHM = (12.0, 12.0, 13.5)
_POINTS = _GRID.world(np.argwhere(np.ones(_GRID.shape))).reshape(*_GRID.shape, 3) - _GRID.centre_mm
_INDICES = np.stack([*np.indices(_GRID.shape, dtype=np.float64), np.ones(_GRID.shape)], axis=-1)
_CURVE = RecoveryCurve(3.0, 0.9, ((0.01, 0.0), (0.0, 0.001)))
_SCANNER = Scanner("test", _FWHM, _CURVE)


def ball(radius_mm, centre_mm=(0.0, 0.0, 0.0)):
    return np.linalg.norm(_POINTS - np.array(centre_mm), axis=-1) < radius_mm


_LIVER = ball(38.0, (-30.0, 0.0, 0.0))
_TUMOUR = ball(13.0, (-30.0, 0.0, 0.0))
_KIDNEY = ball(22.0, (35.0, 10.0, 0.0))
_LABELS = 1 * _LIVER + 1 * _TUMOUR + 3 * _KIDNEY
_NAMES = {1: "liver", 2: "tumour", 3: "kidney"}
_TRUE = np.array([2e4, 2e5, 2e6, 8e5], dtype=np.float32)[_LABELS]


def study(true=_TRUE, *, scanner=_SCANNER, labels=_LABELS, names=_NAMES, fwhm=_FWHM, nuclide="Lu-177"):
    image = blur(true, fwhm, _GRID.spacing_mm, extend=True)
    drawn = Structures((Volume(labels.astype(np.uint8), _GRID, Quantity.LABELS),), names)
    point = TimePoint.of("tp1", 24.0, Volume(image, _GRID, Quantity.ACTIVITY), None, drawn)
    return Study("p", nuclide, Administration(7400.0), "tp1", (point,), scanner=scanner)


def corrected(given, **settings):
    frames, regions = overlay_series(given), regions_of(given)
    plan = plan_recovery(given, frames, regions, None, RecoverySettings(**settings))
    done, found = correct_frames(plan, frames)
    return frames[0].activity, done[0].activity, regions, found


def test_a_structure_that_is_not_even_widens_what_recovery_errs_by():
    """A kidney with an empty core loses more than an even one: voxels make up part of it, u(R) holds the rest."""
    hollow = np.where(ball(12.0, (35.0, 10.0, 0.0)), np.float32(0.0), _TRUE)
    *_, regions, even = corrected(study())
    _, activity, _, uneven = corrected(study(hollow))
    error = regions["kidney"].integral(activity) / regions["kidney"].integral(activity.with_data(hollow)) - 1.0
    assert -2.0 * uneven.relative_u("kidney") < error < -0.03
    assert uneven.relative_u("kidney") > 1.1 * even.relative_u("kidney")
    assert uneven.relative_u("liver") == pytest.approx(even.relative_u("liver"), rel=0.05)


def test_uniform_parts_are_found_again():
    image, activity, regions, found = corrected(study())
    true = Volume(_TRUE, _GRID, Quantity.ACTIVITY)
    for name, region in regions.items():
        assert region.mean(activity) == pytest.approx(region.mean(true), rel=0.01)
        assert found.value(name) == pytest.approx(region.mean(image) / region.mean(true), rel=0.01)
        assert found.method_of(name) == "gtm"
    assert np.abs(activity.data / _TRUE - 1.0).max() < 0.02  # every voxel, not only the means
    assert not found.assumed


def test_the_total_activity_stays():
    _, _, _, found = corrected(study())
    assert abs(found.total_change_percent["tp1"]) < 0.5


def test_a_sphere_keeps_what_the_closed_form_says():
    fine = Grid.from_spacing((48, 48, 48), (1.5, 1.5, 1.5))
    points = fine.world(np.argwhere(np.ones(fine.shape))).reshape(*fine.shape, 3) - fine.centre_mm
    mask = np.linalg.norm(points, axis=-1) < 15.0
    kept = float(blur(mask.astype(np.float32), (12.0,) * 3, fine.spacing_mm)[mask].mean())
    assert sphere_recovery(mask.sum() * fine.voxel_volume_ml, 12.0) == pytest.approx(kept, rel=5e-3)


def test_spill_in_lifts_a_cold_structure_above_its_truth():
    cold = np.where(_TUMOUR, np.float32(1e4), _TRUE)
    _, activity, regions, found = corrected(study(cold))
    assert found.value("tumour") > 2.0
    assert regions["tumour"].mean(activity) == pytest.approx(1e4, rel=0.1)


def test_volume_recovery_divides_by_the_curve():
    image, activity, regions, found = corrected(study(), method="volume")
    r = _CURVE.value(regions["kidney"].volume_ml)
    assert regions["kidney"].mean(activity) == pytest.approx(regions["kidney"].mean(image) / r, rel=1e-5)
    assert found.value("kidney") == pytest.approx(r)
    assert found.relative_u("kidney") > _CURVE.u(regions["kidney"].volume_ml) / r


def test_without_a_description_nothing_changes_and_the_loss_is_told():
    given = study(scanner=None, fwhm=(13.5,) * 3)
    image, activity, regions, found = corrected(given)
    assert activity is image
    assert found.assumed
    assert found.fwhm_mm == (12.0, 15.0)
    for name, region in regions.items():
        true = region.mean(image) / region.mean(Volume(_TRUE, _GRID, Quantity.ACTIVITY))
        assert abs(np.log(found.value(name) / true)) < 2.0 * found.relative_u(name) + 0.005
    assert found.method_of("kidney") == "none"


def test_positron_emitters_are_assumed_to_be_seen_more_sharply():
    assert corrected(study(scanner=None, nuclide="Ga-68"))[3].fwhm_mm == (5.0, 7.0)
    assert corrected(study(scanner=None), assumed_fwhm_mm=(8.0, 9.0))[3].fwhm_mm == (8.0, 9.0)


@pytest.mark.parametrize(("beta1_ml", "method"), [(0.1, "volume"), (3.0, "none")])
def test_a_structure_too_small_for_the_matrix_is_corrected_by_its_volume_or_left(beta1_ml, method, caplog):
    speck = ball(3.5, (35.0, -45.0, 0.0))
    labels, true = np.where(speck, 4, _LABELS), np.where(speck, np.float32(2e6), _TRUE)
    curve = RecoveryCurve(beta1_ml, 0.9, ((0.0001, 0.0), (0.0, 0.001)))
    given = study(true, scanner=Scanner("x", (18.0,) * 3, curve), labels=labels, names={**_NAMES, 4: "speck"})
    with caplog.at_level(logging.WARNING):
        image, activity, regions, found = corrected(given)
    assert found.method_of("speck") == method
    assert found.method_of("liver") == "gtm"
    assert "speck" in caplog.text
    r = curve.value(regions["speck"].volume_ml) if method == "volume" else 1.0
    assert regions["speck"].mean(activity) == pytest.approx(regions["speck"].mean(image) / r, rel=1e-5)


def test_a_structure_in_another_one_owns_its_voxels():
    whole = Structures(
        (
            Volume((_LIVER * 1).astype(np.uint8), _GRID, Quantity.LABELS),
            Volume((_TUMOUR * 2 + _KIDNEY * 3).astype(np.uint8), _GRID, Quantity.LABELS),
        ),
        _NAMES,
    )
    given = study()
    point = TimePoint.of("tp1", 24.0, given.reference.activity, None, whole)
    _, activity, regions, _ = corrected(replace(given, timepoints=(point,)))
    true = Volume(_TRUE, _GRID, Quantity.ACTIVITY)
    for name, region in regions.items():
        assert region.mean(activity) == pytest.approx(region.mean(true), rel=0.01), name


@pytest.mark.parametrize(
    ("scanner", "method", "says"),
    [
        (None, "gtm", "does not describe its scanner"),
        (None, "volume", "does not describe its scanner"),
        (replace(_SCANNER, recovery=None), "volume", "no recovery curve"),
    ],
)
def test_a_correction_that_the_description_does_not_allow_is_refused(scanner, method, says):
    with pytest.raises(InputError, match=says):
        corrected(study(scanner=scanner), method=method)


def test_noise_is_told_to_grow():
    _, _, _, found = corrected(study())
    (row,) = found.structures["tumour"]
    random, spread = np.random.default_rng(1), {False: [], True: []}
    given = study()
    base = given.reference.activity.data
    frames, regions = overlay_series(given), regions_of(given)
    plan = plan_recovery(given, frames, regions, None, RecoverySettings())
    for _ in range(40):
        noisy = base + random.normal(0.0, 2e4, base.shape).astype(np.float32)
        means = plan.matrices[0].solve(noisy)
        spread[True].append(means[plan.matrices[0].partition.names.index("tumour")])
        spread[False].append(noisy[_TUMOUR].mean())
    assert np.std(spread[True]) / np.std(spread[False]) == pytest.approx(row.noise, rel=0.35)


def test_what_interpolation_blurs_is_corrected_too():
    """A scan of the same activity, turned and shifted so that its voxels lie at all fractions, brought back."""
    turn = Rotation.from_euler("xyz", (7.0, -5.0, 9.0), degrees=True).as_matrix()
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = turn, (3.1, -5.3, 6.7)
    given = study()
    still = overlay_series(given)[0]
    back = np.linalg.inv(motion) @ _GRID.affine
    index = np.moveaxis(np.einsum("ab,ijkb->ijka", _GRID.inverse_affine @ back, _INDICES)[..., :3], -1, 0)
    seen = ndimage.map_coordinates(still.activity.data, index, order=3, mode="nearest")
    field = DisplacementField.from_affine(motion, _GRID)
    bent = dict.fromkeys((f.name for f in fields(RegistrationQuality)), 0.0)
    found = Registration("rigid", "activity", field, 0.0, RegistrationQuality(**bent), RegistrationQuality(**bent))
    moved = replace(still, id="tp2", activity=field.warp(still.activity.with_data(seen)), registration=found)
    regions = regions_of(given)
    frames = (still, moved)
    done, _ = correct_frames(plan_recovery(given, frames, regions, None, RecoverySettings()), frames)
    as_if_sharp = (still, replace(moved, registration=None))
    low, _ = correct_frames(plan_recovery(given, as_if_sharp, regions, None, RecoverySettings()), as_if_sharp)
    tumour = regions["tumour"]
    assert tumour.mean(low[1].activity) < 0.975 * tumour.mean(done[0].activity)
    for name in ("tumour", "kidney"):
        assert regions[name].mean(done[1].activity) == pytest.approx(regions[name].mean(done[0].activity), rel=0.01)
