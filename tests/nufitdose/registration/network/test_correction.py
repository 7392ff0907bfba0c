"""The part of the network that corrects: nothing untrained, on lattices of any size, kept in the same weights file."""

import json

import torch

from nufitdose.registration.network import NetworkSettings, NufitReg, load_weights, save_weights
from nufitdose.registration.network.correction import FieldCorrection
from nufitdose.registration.optimiser.evidence import ODD_ALONG


def evidence(*shape: int) -> torch.Tensor:
    return torch.randn((1, len(ODD_ALONG), *shape), generator=torch.Generator().manual_seed(0))


def test_untrained_it_corrects_nothing():
    assert not FieldCorrection(8)(evidence(8, 12, 16)).any()


def test_what_is_far_beyond_all_experience_stays_bounded():
    torch.manual_seed(0)
    model = FieldCorrection(8)
    torch.nn.init.normal_(model.head.weight, std=0.05)
    with torch.no_grad():
        usual, wild = (float(model(scale * evidence(16, 16, 16)).abs().max()) for scale in (1.0, 1e4))
    assert wild < 20.0 * usual


def test_it_lives_in_the_file_of_the_network(tmp_path):
    torch.manual_seed(0)
    model = NufitReg(NetworkSettings(correction=8))
    torch.nn.init.normal_(model.correction.head.weight)
    found = load_weights(save_weights(model, tmp_path / "w.safetensors", {}))
    shown = evidence(8, 8, 12)
    with torch.no_grad():
        torch.testing.assert_close(found.correction(shown), model.correction(shown), rtol=0.01, atol=0.05)


def test_a_card_from_before_there_was_one_has_none(tmp_path):
    path = save_weights(NufitReg(NetworkSettings()), tmp_path / "w.safetensors", {})
    card = json.loads(path.with_suffix(".json").read_text())
    del card["network"]["correction"]
    path.with_suffix(".json").write_text(json.dumps(card))
    assert load_weights(path).correction is None
