"""Instance optimisation finds a known motion, does not fold, and never makes things worse."""

import dataclasses

import numba
import numpy as np
import pytest
import torch
from support.small_scans import CENTRES_MM, GRID, ORGANS, moved, scan

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.registration import DisplacementField, register
from nufitdose.registration.engines.refine import RefineSettings, field_mm, refine
from nufitdose.registration.objective import ObjectiveSettings
from nufitdose.registration.optimiser.images import levels_of
from nufitdose.registration.pair import pair_of
from nufitdose.registration.quality import target_registration_error_mm
from nufitdose.registration.regularization import departure_from_rigidity
from nufitdose.study import Structures, TimePoint
from nufitdose.volume import Quantity, Volume

CPU = torch.device("cpu")
QUICK = RefineSettings(spacing_mm=4.0)
REST = np.eye(4)


def fixed_centres() -> np.ndarray:
    """Where the fixed scan shows each centre: x + moved(x) = centre."""
    fixed = CENTRES_MM - moved(CENTRES_MM)
    for _ in range(50):
        fixed = CENTRES_MM - moved(fixed)
    return fixed


def errors_mm(field: DisplacementField) -> np.ndarray:
    return target_registration_error_mm(field, fixed_centres(), CENTRES_MM)


@pytest.fixture(scope="module")
def scans() -> tuple[TimePoint, TimePoint]:
    return scan("a", still=False), scan("b", still=True)


@pytest.fixture(scope="module")
def found(scans):
    return refine(*scans, REST, settings=QUICK)


def test_a_known_motion_is_found_without_folding(found):
    pair, result = found
    assert result.after < result.before
    field = pair.field(field_mm(result, pair), GRID)
    before, after = errors_mm(DisplacementField.identity(GRID)), errors_mm(field)
    assert after.mean() < 0.2 * before.mean()
    assert after.mean() < 1.3
    statistics = field.jacobian_statistics()
    assert statistics.minimum > 0.2
    assert statistics.folding_percent == statistics.ndv_percent == 0.0


def test_what_is_found_has_an_inverse(found):
    pair, result = found
    field = pair.field(field_mm(result, pair), GRID)
    back = field.inverse()
    inside = np.linalg.norm(fixed_centres()[:, None] - CENTRES_MM, axis=-1).min(axis=1) < 40
    points = fixed_centres()[inside]
    there = points + field.at(points)
    np.testing.assert_allclose(there + back.at(there), points, atol=0.3)  # both are linear between voxels


def test_scans_exchanged_give_nearly_the_inverse(scans, found):
    pair, result = found
    there = fixed_centres() + field_mm(result, pair).at(fixed_centres())
    pair_back, result_back = refine(*scans[::-1], REST, settings=QUICK)
    again = there + field_mm(result_back, pair_back).at(there)
    assert np.linalg.norm(again - fixed_centres(), axis=-1).mean() < 1.5


def test_one_and_two_threads_give_the_same(scans, found):
    threads = numba.get_num_threads()
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("numba was started with one thread")
    try:
        numba.set_num_threads(1)
        one = refine(*scans, REST, settings=QUICK)[1].displacement
        numba.set_num_threads(2)
        two = refine(*scans, REST, settings=QUICK)[1].displacement
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(one, two)


def test_equal_scans_stay_where_they_are():
    still = scan("a", still=True)
    pair, result = refine(still, still, REST, settings=QUICK)
    found = field_mm(result, pair)
    assert np.linalg.norm(found.at(CENTRES_MM), axis=-1).max() < 0.2
    assert found.magnitude.mean() < 0.2


def test_a_good_start_is_kept_when_nothing_is_gained(scans, found):
    pair, result = found
    start = field_mm(result, pair)
    _, kept = refine(*scans, REST, start, RefineSettings(spacing_mm=4.0, steps=(0, 0, 0)))
    assert kept.after == kept.before < result.before
    _, further = refine(*scans, REST, start, RefineSettings(spacing_mm=4.0, steps=(0, 4, 4)))
    assert further.after <= further.before


def test_a_start_that_is_wrong_is_corrected(scans):
    """A shift of 6 mm everywhere is taken back."""
    grid = Grid.from_spacing((20, 20, 20), (16.0, 16.0, 16.0))
    shift = np.zeros((3, *grid.shape), np.float32)
    shift[1] = 6.0
    pair, result = refine(*scans, REST, DisplacementField(shift, grid), QUICK)
    assert errors_mm(field_mm(result, pair)).mean() < 1.5


def test_activity_alone_follows_what_is_hot():
    fixed, moving = scan("a", still=False, ct=False), scan("b", still=True, ct=False)
    pair, result = refine(fixed, moving, REST, settings=QUICK)
    hot = [n for n, organ in enumerate(ORGANS) if organ[3] >= 1e5]
    before, after = (
        errors_mm(field)[hot].mean() for field in (DisplacementField.identity(GRID), field_mm(result, pair))
    )
    assert after < 0.6 * before
    assert field_mm(result, pair).jacobian_statistics().minimum > 0.5  # volumes are nearly kept


def test_a_guide_says_where_the_field_is_stiff(scans):
    tensors = pair_of(*scans, 4.0, CPU, REST).tensors
    guided, uniform, permuted = (
        levels_of(tensors, 1, ObjectiveSettings(guide=guide))[-1].stiffness for guide in ("ct", "uniform", "permuted")
    )
    assert np.unique(uniform).tolist() == [1.0]
    assert guided.std() > 0.1
    np.testing.assert_array_equal(np.sort(permuted, axis=None), np.sort(guided, axis=None))
    assert abs(np.corrcoef(permuted.ravel(), guided.ravel())[0, 1]) < 0.1


def test_change_of_volume_costs_where_there_is_activity_and_everywhere_without_ct(scans):
    tensors = pair_of(*scans, 4.0, CPU, REST).tensors
    volume = levels_of(tensors, 1, ObjectiveSettings(), volume_with_ct=4.0)[-1].volume
    root = tensors.activity[0, 1].numpy().reshape(*(m for n in tensors.activity.shape[2:] for m in (n // 2, 2)))
    np.testing.assert_allclose(volume, 4.0 * root.mean(axis=(1, 3, 5)) ** 2, rtol=1e-5, atol=1e-6)
    assert volume.max() > 1.0 > volume.min()
    bare = pair_of(scan("a", still=False, ct=False), scan("b", still=True, ct=False), 4.0, CPU, REST).tensors
    assert (levels_of(bare, 1, ObjectiveSettings(volume_without_ct=7.0), 4.0)[-1].volume == 7.0).all()


@pytest.mark.parametrize("kind", ["mind", "ngf"])
def test_activities_of_two_tracers_are_compared_by_their_structure(scans, kind):
    terms = ObjectiveSettings(similarity_activity=kind)
    pair, result = refine(*scans, REST, settings=QUICK, terms=terms)
    assert errors_mm(field_mm(result, pair)).mean() < 2.0


def test_a_ct_on_one_scan_only_leaves_the_activities(scans):
    bare = dataclasses.replace(scan("a", still=False, ct=False))
    pair, result = refine(bare, scans[1], REST, settings=QUICK)
    assert pair.tensors.present.tolist() == [[False, True]]
    assert result.after <= result.before


def test_the_working_grid_holds_the_body_and_the_start_is_composed_once():
    shift = np.eye(4)
    shift[:3, 3] = (3.0, -5.0, 8.0)
    tilted = scan("b", still=False, matrix=np.linalg.inv(shift), noise=False)
    found = pair_of(scan("a", still=False, noise=False), tilted, 4.0, CPU, shift)
    assert all(n % 8 == 0 for n in found.grid.shape)
    body = found.tensors.body[0].min(dim=0).values > 0.5
    difference = (found.tensors.ct[0, 0] - found.tensors.ct[0, 1])[body].abs()
    assert float(difference.mean()) < 0.02
    zero = DisplacementField.identity(found.grid)
    np.testing.assert_allclose(found.field(zero, GRID).data[:, 5, 6, 7], shift[:3, 3], atol=1e-4)
    one = zero.data.copy()
    one[2] = 4.0
    np.testing.assert_allclose(found.field(DisplacementField(one, found.grid), GRID).data[2], 12.0, atol=1e-4)


def test_without_ct_the_activity_alone_is_compared():
    found = pair_of(scan("a", still=False, ct=False), scan("b", still=True), 4.0, CPU, np.eye(4)).tensors
    assert found.present.tolist() == [[False, True]]
    assert float(found.ct.abs().sum()) == 0
    assert bool((found.weight_ct == 1).all())


def test_the_engine_beats_rigid_and_names_itself(scans):
    errors = {}
    for engine in ("rigid", "refine"):
        found = register(*scans, engine=engine)
        assert found.engine == engine
        assert found.quality.ndv_percent == 0.0
        errors[engine] = errors_mm(found.field).mean()
    assert errors["refine"] < 0.4 * errors["rigid"]


def test_two_patients_are_told_apart_and_stay_rigid(caplog):
    """The other patient has its organs elsewhere."""
    fixed = scan("a", still=True)
    turned = fixed.ct.data[::-1, ::-1, ::-1]
    other = TimePoint.of("b", 9.0, fixed.activity, fixed.ct.with_data(turned.copy()))
    found, rigid = (register(fixed, other, engine=engine).field for engine in ("refine", "rigid"))
    assert "a and b do not look like scans of one patient" in caplog.text
    np.testing.assert_allclose(found.data, rigid.data, atol=1e-4)


def test_engines_that_need_weights_say_so(tmp_path, scans):
    wanted = tmp_path / "none.safetensors"
    with pytest.raises(InputError, match="no such weights file"):
        register(*scans, engine="network", weights=wanted)
    wanted.write_bytes(b"weights without their card")
    with pytest.raises(InputError, match="card"):
        register(*scans, engine="network", weights=wanted)


@pytest.mark.slow
def test_a_network_start_is_used(tmp_path, scans):
    from nufitdose.registration.network import NetworkSettings, NufitReg, save_weights

    torch.manual_seed(0)
    model = NufitReg(NetworkSettings(encoder="unet", passes=1))
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([0.0, 0.5, 0.0]))  # half a voxel along j everywhere
    path = save_weights(model, tmp_path / "w.safetensors", {})
    network, rigid = (register(*scans, engine=e, weights=path).field for e in ("network", "rigid"))
    shift = (network.data - rigid.data).reshape(3, -1).mean(axis=1)
    np.testing.assert_allclose(shift, [0.0, 2.0, 0.0], atol=0.15)
    assert Grid.matches(network.grid, rigid.grid)


def test_tumours_drawn_on_the_scans_stay_rigid_where_that_is_asked_for():
    """The motion of the trunk bends the tumour by its side a little; stiffened it is bent far less."""
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
    strain = {}
    for weight in (0.0, 1.0):
        pair, result = refine(*scans, REST, settings=QUICK, terms=ObjectiveSettings(rigidity=weight))
        field = field_mm(result, pair).on(pair.grid).data
        departure = departure_from_rigidity(torch.from_numpy(field)[None], pair.grid.spacing_mm)
        strain[weight] = float((departure * seen.tumours[:, 1:]).sum())
    assert strain[1.0] < 0.3 * strain[0.0]
    assert pair_of(*scans, 4.0, CPU, np.eye(4)).tensors.tumours is None


def test_that_no_tumour_is_drawn_is_told(caplog):
    bare = scan("a", still=True)
    assert pair_of(bare, bare, 8.0, CPU, np.eye(4), with_tumours=True).tensors.tumours is None
    assert "no tumour is drawn on a or a" in caplog.text
