"""The network: identity at the start, sizes, absent modalities, cross-stitch, weights on disk."""

import json

import pytest
import torch

from nufitdose.errors import InputError
from nufitdose.registration.network import NetworkSettings, NufitReg, load_weights, save_weights
from nufitdose.registration.network.encoder import CrossStitch
from nufitdose.registration.objective import NetworkOutput, displacements

torch.manual_seed(0)
BOTH = torch.tensor([[True, True]])
UNET = NetworkSettings(encoder="unet")


def images(*sizes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    return torch.rand(1, 2, *sizes, generator=chance), torch.rand(1, 2, *sizes, generator=chance)


def woken(settings: NetworkSettings) -> NufitReg:
    """A network whose head answers, as after training."""
    torch.manual_seed(1)
    model = NufitReg(settings).eval()
    torch.nn.init.normal_(model.head.weight, std=0.1)
    return model


@pytest.mark.parametrize(
    "settings",
    [
        NetworkSettings(),
        NetworkSettings(streams="ct"),
        NetworkSettings(cross_stitch=False, weight_head="gaussian"),
        NetworkSettings(encoder="unet", weight_head="beta", streams="activity"),
        NetworkSettings(encoder="unet", field="displacement"),
        NetworkSettings(encoder="unet", streams="joined"),
        NetworkSettings(streams="joined", decoder="pixel_shuffle"),
    ],
)
def test_every_variant_starts_at_the_identity_with_weights_near_one(settings):
    with torch.no_grad():
        output = NufitReg(settings)(*images(40, 24, 32), BOTH)
    assert output.velocity.shape == (1, 3, 20, 12, 16)
    assert output.velocity.abs().max() < 0.01
    assert output.displacement == (settings.field == "displacement")
    if settings.weight_head == "none":
        assert output.weight is None
    else:
        assert output.weight.shape == (1, 1, 40, 24, 32)
        assert (output.weight - 1).abs().max() < 0.5


@pytest.mark.parametrize(
    "settings", [NetworkSettings(), UNET, NetworkSettings(encoder="unet", streams="joined", decoder="pixel_shuffle")]
)
def test_a_modality_that_is_absent_is_not_looked_at(settings):
    model = woken(settings)
    (ct, activity), (other_ct, other_activity) = images(32, 32, 32), images(32, 32, 32, seed=5)
    no_ct, no_activity = torch.tensor([[False, True]]), torch.tensor([[True, False]])
    with torch.no_grad():
        seen = model(ct, activity, BOTH).velocity
        assert torch.equal(model(ct, activity, no_ct).velocity, model(other_ct, activity, no_ct).velocity)
        assert torch.equal(model(ct, activity, no_activity).velocity, model(ct, other_activity, no_activity).velocity)
        assert not torch.allclose(seen, model(other_ct, activity, BOTH).velocity, atol=1e-4)
        assert not torch.allclose(seen, model(ct, other_activity, BOTH).velocity, atol=1e-4)


def test_the_network_tells_an_absent_modality_from_an_empty_one():
    model = woken(UNET)
    _, activity = images(32, 32, 32)
    empty = torch.zeros_like(activity)
    with torch.no_grad():
        absent = model(empty, activity, torch.tensor([[False, True]])).velocity
        present = model(empty, activity, BOTH).velocity
    assert not torch.allclose(absent, present, atol=1e-5)


def test_stitches_mix_by_their_matrix_and_leave_a_lone_stream_alone():
    stitch = CrossStitch(3)
    a, b = torch.rand(2, 3, 2, 2, 2), torch.rand(2, 3, 2, 2, 2)
    b[1] = 0
    with torch.no_grad():
        mixed_a, mixed_b = stitch(a, b, torch.tensor([[True, True], [True, False]]))
    torch.testing.assert_close(mixed_a[0], 0.9 * a[0] + 0.1 * b[0])
    torch.testing.assert_close(mixed_b[0], 0.1 * a[0] + 0.9 * b[0])
    assert torch.equal(mixed_a[1], a[1])
    assert torch.equal(mixed_b[1], b[1])


def test_one_stream_without_stitches_does_not_depend_on_the_other_inside_the_encoders():
    model = woken(NetworkSettings(encoder="unet", cross_stitch=False))
    (ct, activity), (_, other) = images(96, 96, 96), images(96, 96, 96, seed=3)
    with torch.no_grad():
        first = model._encoded([ct, activity], BOTH)
        second = model._encoded([ct, other], BOTH)
    assert all(torch.equal(x[0], y[0]) for x, y in zip(first, second, strict=True))
    stitched = woken(UNET)
    with torch.no_grad():
        first, second = stitched._encoded([ct, activity], BOTH), stitched._encoded([ct, other], BOTH)
    assert not torch.allclose(first[-1][0], second[-1][0])


def test_the_network_may_be_told_how_often_to_look():
    once, twice = (woken(UNET.model_copy(update={"passes": count})) for count in (1, 2))
    twice.load_state_dict(once.state_dict())
    ct, activity = images(32, 32, 32)
    with torch.no_grad():
        wanted, other = once(ct, activity, BOTH).velocity, twice(ct, activity, BOTH).velocity
        assert torch.equal(twice(ct, activity, BOTH, 1).velocity, wanted)
    assert not torch.allclose(other, wanted)


def test_every_parameter_learns():
    model = woken(NetworkSettings(weight_head="beta"))
    output = model(*images(32, 32, 32), BOTH)
    (output.velocity.square().mean() + output.weight.square().mean()).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # an instance norm takes a constant away, so the biases before one cannot learn
    assert [name for name in idle if not name.endswith(".0.bias")] == []


def test_checkpointing_and_bfloat16_change_nothing_beyond_rounding():
    plain, saving = (woken(NetworkSettings(passes=1, checkpointing=saves)) for saves in (False, True))
    saving.train()
    saving.load_state_dict(plain.state_dict())
    ct, activity = images(32, 32, 32)
    with torch.no_grad():
        reference = plain(ct, activity, BOTH).velocity
        with torch.autocast("cpu", torch.bfloat16):
            rounded = plain(ct, activity, BOTH).velocity.float()
    again = saving(ct, activity, BOTH).velocity.detach()
    torch.testing.assert_close(again, reference, atol=1e-4, rtol=1e-3)
    assert (rounded - reference).norm() < 0.1 * reference.norm()


def test_a_velocity_has_its_inverse_and_a_displacement_is_taken_as_it_is():
    velocity = 2 * torch.rand(1, 3, 8, 8, 8)
    forth, _ = displacements(NetworkOutput(velocity, displacement=True))
    assert torch.equal(forth, velocity)
    forth, back = displacements(NetworkOutput(velocity))
    assert not torch.equal(forth, velocity)
    torch.testing.assert_close(displacements(NetworkOutput(-velocity))[0], back)


def test_weights_come_back_in_half_precision_with_their_card(tmp_path):
    model = woken(UNET)
    path = save_weights(model, tmp_path / "w.safetensors", {"stage": "pretrain"})
    found = load_weights(path)
    assert found.settings == model.settings
    ct, activity = images(32, 32, 32)
    with torch.no_grad():
        a, b = model(ct, activity, BOTH).velocity, found(ct, activity, BOTH).velocity
    assert (a - b).norm() < 5e-3 * a.norm()
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["stage"] == "pretrain"
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    assert path.stat().st_size < 2.1 * card["parameters"] + 50_000
    assert len(list(tmp_path.iterdir())) == 2


def _card(path, **changes):
    card = path.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | changes))


def test_wrong_weights_are_refused(tmp_path):
    path = save_weights(NufitReg(UNET), tmp_path / "w.safetensors", {})
    content, card = path.read_bytes(), path.with_suffix(".json").read_text()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match="checksum"):
        load_weights(path)
    path.write_bytes(content)
    _card(path, network=UNET.model_copy(update={"size": "small"}).model_dump())
    with pytest.raises(InputError, match="do not fit"):
        load_weights(path)
    _card(path, format="other")
    with pytest.raises(InputError, match="format"):
        load_weights(path)
    path.with_suffix(".json").write_text(card[:40])
    with pytest.raises(InputError, match="cannot be read"):
        load_weights(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(InputError, match="missing"):
        load_weights(path)
    with pytest.raises(InputError, match="missing"):
        load_weights(tmp_path / "nothing.safetensors")
