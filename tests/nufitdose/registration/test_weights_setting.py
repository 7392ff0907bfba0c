"""Which weights a run used cannot be missed: a setting chooses them, run.json and the report hold their digest."""

import hashlib
import json

import numpy as np
import pytest
import torch
from support.small_study import small_study, small_study_folder

from dosimetry import run_patient
from dosimetry.config import load_settings
from nufitdose.errors import InputError
from nufitdose.io.field_file import load_field
from nufitdose.registration.command import run_registration
from nufitdose.registration.network import NetworkSettings, NufitReg, save_weights
from nufitdose.registration.network.weights import SHIPPED
from nufitdose.registration.settings import RegistrationSettings


@pytest.fixture(scope="module")
def other_weights(tmp_path_factory):
    """A network that moves everything by half a voxel (8 mm) along j."""
    torch.manual_seed(0)
    model = NufitReg(NetworkSettings(encoder="unet", passes=1, working_spacing_mm=8.0))
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([0.0, 0.5, 0.0]))
    return save_weights(model, tmp_path_factory.mktemp("weights") / "other.safetensors", {})


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_are_a_setting_and_the_digest_of_those_used_is_recorded(other_weights, tmp_path, monkeypatch):
    study = small_study((4.0, 24.0))
    monkeypatch.setenv("NUFITDOSE_WEIGHTS", str(other_weights))  # once chose the weights; must not any more
    fields = {}
    for name, weights, used in (("shipped", None, SHIPPED), ("other", other_weights, other_weights)):
        settings = RegistrationSettings(engine="network", weights=weights)
        frames = run_registration(study, tmp_path / name, settings)
        record = json.loads((tmp_path / name / "run.json").read_text())
        assert frames[1].registration.weights_sha256 == record["weights_sha256"] == digest(used)
        assert record["config"]["registration"]["weights"] == (None if weights is None else str(weights))
        fields[name] = load_field(tmp_path / name / "registered/tp2_field.nii.gz")[0]
    assert np.abs(fields["other"] - fields["shipped"]).max() > 1.0


def test_the_report_names_the_digest(other_weights, tmp_path):
    study = small_study_folder(tmp_path / "S", hours=(4.0, 24.0))
    chosen = ["registration.engine=network", f"registration.weights={json.dumps(str(other_weights))}"]
    run_patient(study, tmp_path / "network", load_settings(None, chosen))
    run_patient(study, tmp_path / "none", load_settings(None, ["registration.engine=none"]))
    pages = {name: (tmp_path / name / "report.html").read_text() for name in ("network", "none")}
    assert json.loads((tmp_path / "network/run.json").read_text())["weights_sha256"] == digest(other_weights)
    assert f"<dt>weights_sha256</dt><dd>{digest(other_weights)}</dd>" in pages["network"]
    assert json.loads((tmp_path / "none/run.json").read_text())["weights_sha256"] is None
    assert "weights_sha256" not in pages["none"]


def test_weights_of_another_card_are_refused_before_anything_is_read(other_weights, tmp_path):
    mixed = tmp_path / "mixed.safetensors"
    content = other_weights.read_bytes()
    mixed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    mixed.with_suffix(".json").write_bytes(other_weights.with_suffix(".json").read_bytes())
    for run in (run_registration, run_patient):
        settings = RegistrationSettings(weights=mixed)
        if run is run_patient:
            settings = load_settings(None, [f"registration.weights={json.dumps(str(mixed))}"])
        with pytest.raises(InputError, match="checksum differs"):
            run(tmp_path / "no study here", tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()
