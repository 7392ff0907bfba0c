"""The registry of engines: one shape for all, and what an engine needs is asked for before it runs."""

import importlib.util

import numpy as np
import pytest
from support.small_scans import scan

from nufitdose.config import Settings
from nufitdose.errors import InputError
from nufitdose.registration import register
from nufitdose.registration.engines.engine import Engine, Need
from nufitdose.registration.engines.registry import ENGINES, find_engine
from nufitdose.registration.settings import RegistrationSettings


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_is_known_by_its_name_and_says_what_it_does(name):
    engine = find_engine(name)
    assert isinstance(engine, Engine)
    assert engine.name == name
    assert callable(engine.run)
    assert engine.settings is None or isinstance(engine.settings, Settings)
    assert ("{bases}" in engine.says) == (name != "none")


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'elastix'"):
        find_engine("elastics")


def test_options_reach_the_engine_and_wrong_ones_are_refused():
    few = find_engine("refine").settings_with({"steps": (1, 0, 0)})
    assert few == find_engine("refine").settings.model_copy(update={"steps": (1, 0, 0)})
    assert RegistrationSettings(engine="refine", options={"steps": [1, 0, 0]}).options == {"steps": [1, 0, 0]}
    for engine, options, words in (
        ("refine", {"stpes": [1]}, "did you mean 'steps'"),
        ("rigid", {"steps": [1]}, "has no options"),
        ("elastix", {"iterations": 0}, "iterations"),
    ):
        with pytest.raises(ValueError, match=words):
            RegistrationSettings(engine=engine, options=options)
    fixed, moving = scan("a", still=False), scan("b", still=True)
    rigid = register(fixed, moving, engine="rigid").field.data
    idle = register(fixed, moving, engine="refine", options={"steps": [0, 0, 0]}).field.data
    np.testing.assert_allclose(idle, rigid, atol=1e-3)


def test_what_an_engine_needs_is_said_before_it_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'nufitdose\[peers\]'"):
        RegistrationSettings(engine="elastix").check_needs()
    with pytest.raises(InputError, match="no such weights file"):
        RegistrationSettings(weights=tmp_path / "none.safetensors").check_needs()
    RegistrationSettings(engine="rigid", weights=tmp_path / "none.safetensors").check_needs()  # not asked for
    bare = scan("a", still=True, ct=False)
    for engine in ENGINES.values():
        if Need.CTS in engine.needs:
            with pytest.raises(InputError, match="a CT on both scans, there is none on a"):
                engine.check_scans(bare, scan("b", still=True))


def test_auto_is_resolved_for_one_study_and_for_two():
    auto = RegistrationSettings()
    assert auto.resolve("Lu-177", "Lu-177").similarity_activity == "lncc"
    assert auto.resolve("Lu-177", "Ga-68").similarity_activity == "mind"
    asked = RegistrationSettings(similarity_activity="ngf")
    assert asked.resolve("Lu-177", "Ga-68") == asked
