import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dosimetry.config import DosimetrySettings, load_settings
from nufitdose.config import build, parse_yaml, with_overrides
from nufitdose.errors import InputError


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001), ("2.5", 2.5), ("-7", -7), ("0", 0), ("12:30:45", "12:30:45"), ("08:30:00", "08:30:00"),
        ("0012", "0012"), ("NO", "NO"), ("yes", "yes"), ("true", True), ("null", None), ("~", None), ("", None),
        ("2018-11-15T09:22:00", "2018-11-15T09:22:00"), ("0x1F", "0x1F"), ("1_000", "1_000"), (".5", 0.5),
        ("+3", "+3"), ("none", "none"), ("Lu-177", "Lu-177"), ("[1, 2]", [1, 2]),
    ],
)  # fmt: skip
def test_yaml_means_what_a_person_wrote(written, value):
    found = parse_yaml(f"key: {written}", where="x")["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "twice"), ("a: [1", "line"), ("- 1", "top level"), ("just text", "top level"), ("", "top level"),
        ("a: !!python/object:os.system x", "valid YAML"), ("1.5: x", "neither text"),
    ],
)  # fmt: skip
def test_broken_yaml_is_named(text, said):
    with pytest.raises(InputError, match=said):
        parse_yaml(text, where="file.yaml")


@given(st.text(max_size=60))
def test_any_text_is_a_mapping_or_an_input_error(text):
    """Its keys are those that an independent reader finds."""
    try:
        found = parse_yaml(text, where="x")
    except InputError as error:
        assert str(error).startswith("x: ")  # noqa: PT017  (either of two outcomes is right)
        return
    assert [str(key) for key in found] == list(yaml.load(text, Loader=yaml.BaseLoader))


def test_an_unknown_key_suggests_the_nearest():
    with pytest.raises(InputError, match=r"did you mean 'registration\.engine'"):
        build(DosimetrySettings, {"registration": {"engin": "rigid"}}, where="c.yaml")
    with pytest.raises(InputError, match=r"did you mean 'registration'\?$"):
        build(DosimetrySettings, {"registratoin": {}}, where="c.yaml")
    tissues = {"tissues": {"kidney": {"alpha_beta": 2.6}}}
    with pytest.raises(InputError, match=r"did you mean 'metrics\.radiobiology\.tissues\.kidney\.alpha_beta_gy'"):
        build(DosimetrySettings, {"metrics": {"radiobiology": tissues}}, where="c.yaml")


def test_every_fault_is_named_at_once():
    with pytest.raises(InputError) as caught:
        build(DosimetrySettings, {"dose": {"density_floor_g_ml": -1, "engine": "magic"}}, where="c.yaml")
    assert "dose.density_floor_g_ml" in str(caught.value)
    assert "dose.engine" in str(caught.value)


def test_overrides_reach_into_the_tree_and_leave_the_rest():
    content = {"dose": {"engine": "local"}}
    merged = with_overrides(content, ["dose.density_floor_g_ml=0.3", "registration.engine=none"])
    assert merged == {"dose": {"engine": "local", "density_floor_g_ml": 0.3}, "registration": {"engine": "none"}}
    assert content == {"dose": {"engine": "local"}}
    assert load_settings(None, ["metrics.volume_at_gy=[1, 2.5]"]).metrics.volume_at_gy == (1.0, 2.5)


@pytest.mark.parametrize("override", ["novalue", "=3", "dose.engine", "dose.nothing=1"])
def test_a_wrong_override_is_refused(override):
    with pytest.raises(InputError):
        load_settings(None, [override])
