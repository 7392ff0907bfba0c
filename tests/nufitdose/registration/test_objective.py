"""The objective: symmetry, absent modalities, what is weighed, which direction it pulls."""

from dataclasses import replace

import pytest
import torch

from nufitdose.registration.descriptors import mind_similarity, mind_ssc, ngf_similarity
from nufitdose.registration.objective import NetworkOutput, ObjectiveSettings, displacements, objective
from nufitdose.registration.pair import PairTensors

SIZE = 32


def blobs(shift: float, *, seed: int = 0, count: int = 25) -> torch.Tensor:
    """Smooth spots, moved by `shift` voxels along j."""
    chance = torch.Generator().manual_seed(seed)
    x = torch.arange(SIZE, dtype=torch.float32)
    image = torch.zeros(SIZE, SIZE, SIZE)
    for centre in SIZE * torch.rand(count, 3, generator=chance):
        i, j, k = (torch.exp(-((x - c - s) ** 2) / 18) for c, s in zip(centre, (0, shift, 0), strict=True))
        image += i[:, None, None] * j[None, :, None] * k[None, None, :]
    return (image / image.max())[None, None]


def pair(shift: float = 2.0) -> PairTensors:
    """A moving scan whose content lies `shift` voxels further along j than that of the fixed scan."""
    ct = torch.cat([blobs(shift), blobs(0.0)], dim=1)
    activity = torch.cat([0.5 * blobs(shift, seed=1), blobs(0.0, seed=1)], dim=1)
    ones = torch.ones_like(ct)
    return PairTensors(ct, activity, torch.tensor([[True, True]]), ones, ones, (4.0, 4.0, 4.0))


def output(shift: float) -> NetworkOutput:
    velocity = torch.zeros(1, 3, *(SIZE // 2,) * 3)
    velocity[:, 1] = shift
    return NetworkOutput(velocity)


@pytest.mark.parametrize("kind", ["lncc", "mi", "mind", "ngf"])
def test_every_similarity_is_best_at_the_true_motion(kind):
    settings = ObjectiveSettings(similarity_ct=kind, similarity_activity=kind)
    losses = [float(objective(output(s), pair(), settings).total) for s in (0.0, 1.0, 2.0, 3.0)]
    assert losses.index(min(losses)) == 2


@pytest.mark.parametrize("kind", ["mind", "ngf"])
def test_structure_does_not_mind_an_inverted_contrast(kind):
    a, weight = blobs(0.0), torch.ones(1, 1, SIZE, SIZE, SIZE)
    measure = {"mind": mind_similarity, "ngf": ngf_similarity}[kind]
    assert measure(a, 1.0 - a, weight) > 0.97 * measure(a, a, weight) > measure(a, blobs(3.0), weight)


def test_self_similarities_are_twelve_from_zero_to_one_and_blind_to_gain_and_offset():
    features = mind_ssc(blobs(0.0))
    assert features.shape[1] == 12
    assert features.min() >= 0
    torch.testing.assert_close(features.amax(dim=1), torch.ones(1, SIZE, SIZE, SIZE))
    torch.testing.assert_close(mind_ssc(3 * blobs(0.0) + 1), features, atol=2e-3, rtol=1e-3)


def test_exchanging_the_scans_inverts_the_field_and_keeps_the_loss():
    torch.manual_seed(0)
    coarse = torch.randn(1, 3, 4, 4, 4)
    v = torch.nn.functional.interpolate(coarse, size=(SIZE // 2,) * 3, mode="trilinear", align_corners=True)
    terms = objective(NetworkOutput(v), pair(), ObjectiveSettings())
    mirrored = objective(NetworkOutput(-v), pair().swapped(), ObjectiveSettings())
    torch.testing.assert_close(terms.total, mirrored.total)
    torch.testing.assert_close(terms.smoothness, mirrored.smoothness)


def test_the_gradient_pulls_towards_the_true_motion():
    velocity = torch.zeros(1, 3, *(SIZE // 2,) * 3, requires_grad=True)
    objective(NetworkOutput(velocity), pair(), ObjectiveSettings()).total.backward()
    pull = -velocity.grad.sum(dim=(0, 2, 3, 4))
    assert pull[1] > 0
    assert pull[1] > 3 * pull[[0, 2]].abs().max()


def test_an_absent_modality_says_nothing():
    seen = pair()
    without = replace(seen, present=torch.tensor([[False, True]]))
    other = replace(without, ct=torch.rand_like(seen.ct))
    a, b = (objective(output(1.0), p, ObjectiveSettings()) for p in (without, other))
    assert a.similarity_ct == 0
    assert torch.equal(a.total, b.total)
    torch.testing.assert_close(a.total, -a.similarity_activity / 3.0 + a.smoothness)  # 0.5 of the weights' 1.5


def test_volume_is_kept_where_no_ct_shows_that_it_changes():
    half = SIZE // 2
    x = torch.stack(torch.meshgrid(*[torch.arange(half) - half / 2.0] * 3, indexing="ij"))[None]
    squeezed, sheared = 0.02 * x, 0.02 * x[:, [1, 2, 0]]
    seen = pair()
    without = replace(seen, present=torch.tensor([[False, True]]))
    settings = ObjectiveSettings(guide="uniform")
    cost = {
        (name, ct): float(objective(NetworkOutput(velocity), p, settings).smoothness)
        for name, velocity in (("squeezed", squeezed), ("sheared", sheared))
        for ct, p in ((True, seen), (False, without))
    }
    assert cost["sheared", False] == pytest.approx(cost["sheared", True], rel=0.15)
    assert cost["squeezed", True] == pytest.approx(cost["sheared", True], rel=0.15)
    roughness, trace = 3 * 0.02**2 / 9, (3 * 0.02) ** 2
    wanted = (roughness + settings.volume_without_ct * trace) / roughness
    assert cost["squeezed", False] / cost["squeezed", True] == pytest.approx(wanted, rel=0.1)


def test_what_lies_beyond_the_field_of_view_is_not_compared():
    seen = pair(0.0)
    cut = torch.ones_like(seen.body)
    cut[:, :, :, :, 24:] = 0
    damaged = seen.ct.clone()
    damaged[:, 0, :, :, 24:] = torch.rand(SIZE, SIZE, 8)
    a, b = (objective(output(0.0), replace(seen, body=cut, ct=ct), ObjectiveSettings()) for ct in (seen.ct, damaged))
    torch.testing.assert_close(a.similarity_ct, b.similarity_ct)


def test_stiff_places_cost_more_where_they_are_and_not_where_they_are_shuffled_to():
    v = torch.zeros(1, 3, *(SIZE // 2,) * 3)
    v[:, 0, 6:10, 6:10, 6:10] = 2.0
    weight = torch.full_like(pair().ct, 0.5)
    weight[:, :, 10:22, 10:22, 10:22] = 6.0
    stiff = replace(pair(), weight_ct=weight)
    terms = {
        g: float(objective(NetworkOutput(v), stiff, ObjectiveSettings(guide=g)).smoothness)
        for g in ("uniform", "ct", "permuted")
    }
    assert terms["ct"] > 3 * terms["uniform"]
    assert terms["permuted"] < 0.5 * terms["ct"]


def test_the_closed_form_relaxes_rough_places():
    v = torch.zeros(1, 3, *(SIZE // 2,) * 3)
    v[:, 0, 8:] = 3.0
    plain = objective(NetworkOutput(v), pair(), ObjectiveSettings(smoothness=2.0))
    relaxed = objective(NetworkOutput(v), pair(), ObjectiveSettings(smoothness=2.0, relaxation="beta"))
    assert relaxed.total < plain.total
    assert relaxed.prior > 0


def test_labels_of_the_warped_scan_meet_the_fixed_ones():
    labels = torch.zeros(1, 2, SIZE, SIZE, SIZE, dtype=torch.long)
    labels[:, 1, 8:20, 8:20, 8:20] = 3
    labels[:, 0, 8:20, 12:24, 8:20] = 3
    seen, settings = replace(pair(), labels=labels), ObjectiveSettings(dice=1.0)
    assert objective(output(4.0), seen, settings).dice > 0.99
    assert objective(output(0.0), seen, settings).dice < 0.75


def swelling(factor: float) -> NetworkOutput:
    """A displacement that stretches all three axes by `factor` about the middle (no inverse by the group)."""
    place = 2.0 * torch.arange(SIZE // 2) + 0.5 - (SIZE - 1) / 2
    u = torch.stack(torch.meshgrid(place, place, place, indexing="ij"))[None] * (factor - 1.0)
    return NetworkOutput(u, displacement=True)


def test_tumours_alone_are_to_stay_rigid():
    """A stretch by s costs 3 (s² - 1)² within a tumour, backwards with 2 - s, and nothing without tumours."""
    tumours = torch.zeros(1, 2, SIZE, SIZE, SIZE)
    tumours[:, :, 10:20, 12:18, 8:16] = 1.0
    settings = ObjectiveSettings(rigidity=2.0)
    seen = replace(pair(), tumours=tumours)
    found = objective(swelling(1.1), seen, settings)
    assert float(found.rigidity) == pytest.approx(3 * (0.21**2 + 0.19**2) / 2, rel=1e-3)
    plain = objective(swelling(1.1), pair(), settings)
    assert plain.rigidity == 0
    torch.testing.assert_close(found.total, plain.total + 2.0 * found.rigidity)
    elsewhere = torch.zeros_like(tumours)
    elsewhere[:, :, :4] = 1.0
    local = output(0.0)
    local.velocity[:, :, 8:] = torch.linspace(0, 3, 8).reshape(1, 1, 8, 1, 1)
    assert objective(local, replace(pair(), tumours=elsewhere), settings).rigidity == 0
    assert objective(output(1.5), seen, settings).rigidity < 1e-9
    torch.testing.assert_close(seen.halved().tumours.mean(), tumours.mean())


def test_a_displacement_is_punished_for_having_no_inverse():
    torch.manual_seed(1)
    v = torch.randn(1, 3, *(SIZE // 2,) * 3)
    settings = ObjectiveSettings(inverse_consistency=1.0)
    raw = objective(NetworkOutput(v, displacement=True), pair(), settings).inverse_consistency
    smooth = objective(output(1.0), pair(), settings).inverse_consistency
    assert raw > 0.1
    assert smooth < 1e-6
    assert torch.equal(displacements(NetworkOutput(v, displacement=True))[1], -v)


def test_halving_a_pair_keeps_means():
    halved = pair().halved()
    assert halved.spacing_mm == (8.0, 8.0, 8.0)
    torch.testing.assert_close(halved.ct.mean(), pair().ct.mean())
