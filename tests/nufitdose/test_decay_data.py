"""Decays kept between runs: asked of the package once, checked when read, never in the way."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nufitdose import decay_data
from nufitdose.decay_data import Decay, find_decay

LU_177_H = 6.647 * 24  # ICRP Publication 107


@pytest.fixture
def forgetful(monkeypatch, tmp_path):
    """A cache of its own, and a call after which the process has forgotten what it read."""
    monkeypatch.setattr(decay_data, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    decay_data._held.cache_clear()
    yield decay_data._held.cache_clear
    decay_data._held.cache_clear()


@pytest.fixture
def no_package(monkeypatch):
    """Switches the package off."""

    def switch_off() -> None:
        monkeypatch.setitem(sys.modules, "radioactivedecay", None)
        decay_data.known_nuclides.cache_clear()

    yield switch_off
    decay_data.known_nuclides.cache_clear()


@pytest.mark.skipif(os.name != "posix", reason="XDG folders")
def test_a_second_process_needs_no_package(tmp_path):
    code = (
        "import sys; from nufitdose import nuclides as n\n"
        "print(n.half_life_h('Lu-177'), sorted(n.progeny_decays('Ac-225').items()), n.long_lived_progeny('At-211'))\n"
        "print('radioactivedecay' in sys.modules)"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    told = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert [text.splitlines()[1] for text in told] == ["True", "False"]
    assert told[0].splitlines()[0] == told[1].splitlines()[0]
    assert len(list((tmp_path / "nufitdose").iterdir())) == 1


def test_every_digit_and_the_whole_chain_are_kept(forgetful, no_package):
    first = find_decay("Pb-212")
    forgetful()
    no_package()
    assert find_decay("Pb-212") == first
    chain = {"Pb-212", "Bi-212", "Po-212", "Tl-208", "Pb-208"}
    assert chain == set(decay_data._held())
    assert find_decay("Pb-208") == Decay(math.inf, ())
    assert sum(share for _, share in find_decay("Bi-212").branches) == pytest.approx(1.0)


def signed(decays):
    return json.dumps({"sha256": decay_data._digest(decays), "decays": decays})


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("159.5", "139.5"),
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[1]",
        lambda text: signed({"Lu-177": 1}),
        lambda text: signed({"Lu-177": {"half_life_h": -1, "branches": []}}),
    ],
)
def test_a_damaged_cache_is_not_believed_and_is_mended(forgetful, damage):
    assert find_decay("Lu-177").half_life_h == pytest.approx(LU_177_H, rel=1e-3)
    path = decay_data.cache_file()
    whole = path.read_text()
    assert damage(whole) != whole
    path.write_text(damage(whole))
    forgetful()
    assert find_decay("Lu-177").half_life_h == pytest.approx(LU_177_H, rel=1e-3)
    assert path.read_text() == whole


def test_another_version_of_the_package_does_not_read_it(forgetful, monkeypatch):
    find_decay("Lu-177")
    forgetful()
    monkeypatch.setattr(decay_data, "version", lambda package: "9.9")
    assert decay_data._held() == {}
    assert "9.9" in decay_data.cache_file().name


@pytest.mark.parametrize("place", [Path("~/.cache"), Path("/dev/null/cache"), None])
def test_without_a_folder_nothing_is_kept_and_nothing_fails(forgetful, monkeypatch, tmp_path, place):
    if place is None:  # a file stands where the folder should be
        place = tmp_path / "taken"
        place.write_text("")
    monkeypatch.setattr(decay_data, "user_cache_path", lambda *_, **__: place)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert find_decay("Y-90").half_life_h == pytest.approx(64.1, rel=1e-3)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_write_that_fails_leaves_nothing(forgetful, monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", refuse)
    assert find_decay("Y-90") is not None
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_is_no_nuclide_is_not_found(forgetful):
    assert find_decay("Xy-12") is None
    assert not decay_data.cache_file().exists()
