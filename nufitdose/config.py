"""Strict YAML into frozen pydantic models, with `--set key=value` on top.

The YAML reader knows strings, true/false, null, decimal integers and floats (1e-3 included) and nothing
else of YAML 1.1: no sexagesimals, octals, yes/no or dates. A key given twice is an error.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from nufitdose.errors import InputError

S = TypeVar("S", bound=BaseModel)


class Settings(BaseModel):
    """Base of every configuration: frozen, unknown keys refused, defaults in code."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def known_names(cls) -> Mapping[str, Iterable[str]]:
        """The names that a registry knows, for each field that chooses by name."""
        return {}


class _StrictLoader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012


_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:null|~|)$"), ["n", "~", ""])
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^-?(?:0|[1-9][0-9]*)$"), list("-0123456789"))
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$"),
    list("-+.0123456789"),
)


def _unique_mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int):
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is neither text nor a whole number", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", key_node.start_mark)
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


def _plain_float(loader: _StrictLoader, node: yaml.ScalarNode) -> float:
    return float(loader.construct_scalar(node))


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _plain_float)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping; `InputError` names the file and line otherwise."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the file cannot be read as UTF-8 text ({error})", where=path) from error
    return parse_yaml(text, where=path)


def parse_yaml(text: str, *, where: str | Path) -> dict[str, Any]:
    """Parse YAML text whose top level is a mapping."""
    try:
        content = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  (a SafeLoader, made stricter)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise InputError(f"this is not valid YAML{line}: {reason}", where=where) from error
    if not isinstance(content, dict):
        raise InputError("'key: value' lines are wanted at the top level", where=where)
    return content


def with_overrides(content: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """The mapping with each `a.b=value` of the command line set in it; values are read as YAML."""
    merged: dict[str, Any] = dict(content)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise InputError(f"'--set {override}' was given, '--set key=value' is wanted")
        *parents, leaf = key.split(".")
        level = merged
        for parent in parents:
            below = level.get(parent)
            level[parent] = dict(below) if isinstance(below, dict) else {}
            level = level[parent]
        level[leaf] = parse_yaml(f"value: {value}", where=f"--set {override}")["value"]
    return merged


def build(model: type[S], content: Mapping[str, Any], *, where: str | Path) -> S:
    """Check a mapping against a model; `InputError` names every fault, with the nearest known key."""
    try:
        return model.model_validate(dict(content))
    except ValidationError as error:
        faults = "; ".join(_fault(model, item) for item in error.errors())
        raise InputError(faults, where=where) from error


def _fault(model: type[BaseModel], item: Mapping[str, Any]) -> str:
    path = [str(part) for part in item["loc"]]
    name = ".".join(path)
    if item["type"] == "extra_forbidden":
        return f"unknown key {name!r}{_nearest_key(model, path)}"
    if item["type"] == "missing":
        return f"the key {name!r} is missing"
    if item["type"] == "model_type":
        keys = [f"{name}.{key}" for key in _keys_at(model, path)]
        return f"{name!r} is {item['input']!r}, a group of settings is wanted: {', '.join(keys)}"
    said = item["msg"].removeprefix("Value error, ")
    if isinstance(item["input"], Mapping):  # a fault of several keys together: all of them at length hide the words
        return f"{name!r}: {said}" if name else said
    names = _names_at(model, path)
    allowed = f"; known: {', '.join(names)}" if names and "Known" not in said else ""
    return f"{name!r} is {item['input']!r}: {said}{allowed}"


def _nearest_key(model: type[BaseModel], path: list[str]) -> str:
    """A hint with full keys: the nearest of the same group, the same key of other groups, else what is known here."""
    *above, leaf = path
    full = {key: ".".join([*above, key]) for key in _keys_at(model, above)}
    near = difflib.get_close_matches(leaf, full, n=1)
    if near:
        return f", did you mean {full[near[0]]!r}?"
    elsewhere = [key for key in _all_keys(model) if key.rpartition(".")[2] == leaf]
    if elsewhere:
        return f", did you mean {' or '.join(map(repr, elsewhere))}?"
    return f", known here: {', '.join(sorted(full.values()))}" if full else ""


def _all_keys(model: type[BaseModel], above: str = "") -> list[str]:
    """Every key of a model and of the models within it, as `outer.inner`."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        below = _model_in(field.annotation)
        found += [f"{above}{name}"] if below is None else _all_keys(below, f"{above}{name}.")
    return found


def _names_at(model: type[BaseModel], path: list[str]) -> list[str]:
    """The names that the setting at `path` may be, where a registry tells them."""
    holder = _model_at(model, path[:-1])
    return list(holder.known_names().get(path[-1], ())) if path and holder and issubclass(holder, Settings) else []


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    found = _model_at(model, path)
    return list(found.model_fields) if found else []


def _model_at(model: type[BaseModel], path: list[str]) -> type[BaseModel] | None:
    current: type[BaseModel] | None = model
    for part in path:
        if part.isdigit() or current is None:
            continue
        info: FieldInfo | None = current.model_fields.get(part)
        current = None if info is None else _model_in(info.annotation)
    return current


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for m in map(_model_in, getattr(annotation, "__args__", ())) if m is not None), None)
