"""Instance optimisation finds a known motion, does not fold, and never makes things worse."""

import numpy as np
import pytest
import torch
from support.small_scans import CENTRES_MM, GRID, ORGANS, moved, scan

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.registration import register
from nufitdose.registration.diffeomorphism import upsampled
from nufitdose.registration.engines.refine import RefineSettings, _expanded, _spline_basis, refine
from nufitdose.registration.objective import NetworkOutput, ObjectiveSettings, displacements, objective
from nufitdose.registration.pair import Pair, pair_of
from nufitdose.registration.quality import target_registration_error_mm
from nufitdose.study import Structures, TimePoint
from nufitdose.volume import Quantity, Volume

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pair() -> Pair:
    return pair_of(scan("a", still=False), scan("b", still=True), 4.0, CPU, np.eye(4))


def errors_mm(pair: Pair, velocity: torch.Tensor) -> np.ndarray:
    field = pair.field(upsampled(displacements(NetworkOutput(velocity))[0]), GRID)
    fixed = CENTRES_MM - moved(CENTRES_MM)
    for _ in range(50):  # the fixed position of each centre: x + moved(x) = centre
        fixed = CENTRES_MM - moved(fixed)
    return target_registration_error_mm(field, fixed, CENTRES_MM)


def test_a_known_motion_is_found_without_folding(pair):
    start = torch.zeros(1, 3, *(n // 2 for n in pair.grid.shape))
    found = refine(pair.tensors)
    assert found.after < found.before
    before, after = errors_mm(pair, start), errors_mm(pair, found.velocity)
    assert after.mean() < 0.35 * before.mean()
    assert after.mean() < 2.0
    field = pair.field(upsampled(displacements(NetworkOutput(found.velocity))[0]), GRID)
    assert field.jacobian_statistics().ndv_percent == 0.0


def test_equal_scans_stay_where_they_are():
    still = scan("a", still=True, noise=False)
    found = refine(pair_of(still, still, 4.0, CPU, np.eye(4)).tensors)
    assert float(found.velocity.abs().max()) * 4.0 < 0.3


def test_a_good_start_is_kept_when_nothing_is_gained(pair):
    velocity = refine(pair.tensors, None, RefineSettings(steps=(20, 10, 0))).velocity
    kept = refine(pair.tensors, velocity, RefineSettings(steps=(0, 0, 0)))
    assert torch.equal(kept.velocity, velocity)
    assert kept.after == kept.before
    further = refine(pair.tensors, velocity, RefineSettings(steps=(0, 5, 0)))
    assert further.after <= further.before


def test_the_working_grid_holds_the_body_and_the_start_is_composed_once():
    shift = np.eye(4)
    shift[:3, 3] = (3.0, -5.0, 8.0)
    tilted = scan("b", still=False, matrix=np.linalg.inv(shift), noise=False)
    found = pair_of(scan("a", still=False, noise=False), tilted, 4.0, CPU, shift)
    assert all(n % 8 == 0 for n in found.grid.shape)
    body = found.tensors.body[0].min(dim=0).values > 0.5
    difference = (found.tensors.ct[0, 0] - found.tensors.ct[0, 1])[body].abs()
    assert float(difference.mean()) < 0.02
    zero = torch.zeros(1, 3, *found.grid.shape)
    np.testing.assert_allclose(found.field(zero, GRID).data[:, 5, 6, 7], shift[:3, 3], atol=1e-4)
    one = zero.clone()
    one[:, 2] = 1.0
    np.testing.assert_allclose(found.field(one, GRID).data[2], 12.0, atol=1e-4)


def test_without_ct_the_activity_alone_is_compared():
    found = pair_of(scan("a", still=False, ct=False), scan("b", still=True), 4.0, CPU, np.eye(4)).tensors
    assert found.present.tolist() == [[False, True]]
    assert float(found.ct.abs().sum()) == 0
    assert bool((found.weight_ct == 1).all())


def test_spline_lattices_hold_constants_and_lines():
    basis = _spline_basis(17, 3.0)
    torch.testing.assert_close(basis.sum(dim=1), torch.ones(17))
    control = 3.0 * (torch.arange(basis.shape[1]) - 1)
    torch.testing.assert_close(basis @ control, torch.arange(17.0), atol=1e-5, rtol=0)
    theta = torch.rand(1, 3, *(basis.shape[1],) * 3)
    wanted = torch.einsum("ia,jb,kc,ndabc->ndijk", basis, basis, basis, theta)
    torch.testing.assert_close(_expanded(theta, [basis] * 3), wanted)


@pytest.mark.slow
def test_the_engine_beats_rigid_and_names_itself():
    fixed, moving = scan("a", still=False), scan("b", still=True)
    points = CENTRES_MM - moved(CENTRES_MM)
    for _ in range(50):
        points = CENTRES_MM - moved(points)
    errors = {}
    for engine in ("rigid", "refine"):
        found = register(fixed, moving, engine=engine)
        assert found.engine == engine
        assert found.quality.ndv_percent == 0.0
        errors[engine] = target_registration_error_mm(found.field, points, CENTRES_MM).mean()
    assert errors["refine"] < 0.6 * errors["rigid"]


def test_engines_that_need_weights_say_so(tmp_path):
    wanted = tmp_path / "none.safetensors"
    with pytest.raises(InputError, match="no such weights file"):
        register(scan("a", still=False), scan("b", still=True), engine="network", weights=wanted)
    wanted.write_bytes(b"weights without their card")
    with pytest.raises(InputError, match="card"):
        register(scan("a", still=False), scan("b", still=True), engine="network", weights=wanted)


@pytest.mark.slow
def test_a_network_start_is_used(tmp_path):
    from nufitdose.registration.network import NetworkSettings, NufitReg, save_weights

    torch.manual_seed(0)
    model = NufitReg(NetworkSettings(encoder="unet", passes=1))
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([0.0, 0.5, 0.0]))  # half a voxel along j everywhere
    path = save_weights(model, tmp_path / "w.safetensors", {})
    fixed, moving = scan("a", still=False), scan("b", still=True)
    network, rigid = (register(fixed, moving, engine=e, weights=path).field for e in ("network", "rigid"))
    shift = (network.data - rigid.data).reshape(3, -1).mean(axis=1)
    np.testing.assert_allclose(shift, [0.0, 2.0, 0.0], atol=0.15)
    assert Grid.matches(network.grid, rigid.grid)


@pytest.mark.slow
def test_tumours_drawn_on_the_scans_stay_rigid_where_that_is_asked_for():
    """The motion of the trunk bends the tumour by its side a little; with the term it is bent far less."""
    centre, radius = CENTRES_MM[-1], ORGANS[-1][1]
    world = GRID.world(np.moveaxis(np.indices(GRID.shape), 0, -1).astype(float))
    scans = []
    for still in (False, True):
        own = world if still else world + moved(world)
        labels = (np.linalg.norm(own - centre, axis=-1) < radius).astype(np.uint8) * 7
        drawn = Structures((Volume(labels, GRID, Quantity.LABELS),), {7: "t1", 9: "t2"}, frozenset({"t1", "t2"}))
        made = scan("ab"[still], still=still)
        scans.append(TimePoint.of(made.id, made.time_h, made.activity, made.ct, drawn))
    seen = pair_of(*scans, 4.0, CPU, np.eye(4), with_tumours=True).tensors
    share = seen.tumours.sum(dim=(2, 3, 4))[0] * 4.0**3
    np.testing.assert_allclose(share, 4 / 3 * np.pi * radius**3, rtol=0.15)
    settings = ObjectiveSettings(rigidity=1e-9)  # measured, and of no weight
    strain = {}
    for weight in (1e-9, 1.0):
        steps, terms = RefineSettings(steps=(20, 20, 5)), ObjectiveSettings(rigidity=weight)
        found = NetworkOutput(refine(seen, None, steps, terms).velocity)
        strain[weight] = float(objective(found, seen, settings).rigidity)
    assert strain[1.0] < 0.3 * strain[1e-9]
    assert pair_of(*scans, 4.0, CPU, np.eye(4)).tensors.tumours is None


def test_that_no_tumour_is_drawn_is_told(caplog):
    bare = scan("a", still=True)
    assert pair_of(bare, bare, 8.0, CPU, np.eye(4), with_tumours=True).tensors.tumours is None
    assert "no tumour is drawn on a or a" in caplog.text
