"""Settings as commented YAML: what is printed is read again as the defaults, and says every key and name there is."""

from collections.abc import Iterator

import pytest
from pydantic import Field

from dosimetry.config import DosimetrySettings
from finetune.config import CorrectionSettings, FinetuneSettings
from nufitdose.commented_settings import commented_yaml
from nufitdose.config import Settings, build, parse_yaml, read_yaml
from nufitdose.registration.engines.registry import ENGINES
from pretrain.config import PretrainSettings

NEEDED = {DosimetrySettings: {}, PretrainSettings: {"data": {"cohort": "COHORT"}}}
NEEDED[FinetuneSettings] = NEEDED[CorrectionSettings] = {"data": {"cohort": "COHORT"}, "start": "START"}


def keys(content: dict, above: str = "") -> Iterator[str]:
    for name, value in content.items():
        yield above + name
        if isinstance(value, dict):
            yield from keys(value, f"{above}{name}.")


@pytest.mark.parametrize("model", NEEDED)
def test_what_is_printed_is_read_as_the_defaults_with_every_key(model):
    text = commented_yaml(model)
    written = parse_yaml(text, where="printed")
    assert build(model, written, where="printed") == model.model_validate(NEEDED[model])
    assert set(keys(written)) == set(keys(model.model_validate(NEEDED[model]).model_dump()))
    assert max(map(len, text.splitlines())) <= 100


def test_every_engine_bound_and_meaning_is_told():
    text = commented_yaml(DosimetrySettings)
    assert " engine: " + " | ".join(ENGINES) in " ".join(text.replace("\n  #", "").split())
    assert "engine: kernel  # local | kernel | montecarlo" in text
    assert "density_floor_g_ml: 0.2  # number, > 0, ≤ 2" in text
    above, _, _ = text.partition("  tumour_rigidity: 0.0")
    assert "# `tumour_rigidity` makes instance optimisation stiffen" in above.splitlines()[-2]


def test_texts_that_yaml_would_take_for_something_else_are_quoted():
    class Odd(Settings):
        """`a` is a number in words; `b` (see `c`; `d`) is b. `e` holds: a colon."""

        a: str = "12"
        b: str = "null"
        c: str = "x: y # z"
        d: str = ""
        e: tuple[str, ...] = ("no", "yes")
        f: float | None = Field(default=1e-7, gt=0)

    text = commented_yaml(Odd)
    assert build(Odd, parse_yaml(text, where="printed"), where="printed") == Odd()
    assert "# `b` (see `c`; `d`) is b.\nb:" in text
    assert "# `a` is a number in words.\na:" in text


def test_the_file_of_the_patient_run_names_every_key_with_its_default(pytestconfig):
    written = read_yaml(pytestconfig.rootpath / "configs/dosimetry.yaml")
    default = DosimetrySettings()
    assert build(DosimetrySettings, written, where="configs/dosimetry.yaml") == default
    assert set(keys(written)) == set(keys(default.model_dump()))
