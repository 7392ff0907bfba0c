"""Strict YAML into frozen pydantic models, with `--set key=value` on top.

The YAML reader knows strings, true/false, null, decimal integers and floats (1e-3 included) and nothing
else of YAML 1.1: no sexagesimals, octals, yes/no or dates, no tags. A key given twice is an error. Length, depth and
what aliases would expand to are bounded before anything is built.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from nufitdose.errors import InputError
from nufitdose.files import read_text
from nufitdose.printable import printable

S = TypeVar("S", bound=BaseModel)
_LARGEST_BYTES = 16 << 20
_DEEPEST = 64  # levels
_MOST_ALIASED = 100_000  # values that aliases stand for
_MOST_FAULTS = 8  # told at once
_LONGEST_VALUE = 200  # characters of a value in a message


class Settings(BaseModel):
    """Base of every configuration: frozen, unknown keys refused, defaults in code."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def known_names(cls) -> Mapping[str, Iterable[str]]:
        """The names that a registry knows, for each field that chooses by name."""
        return {}


class _StrictLoader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._level = 0
        self._size: dict[int, tuple[int, int]] = {}  # values and levels of a node, once it is complete
        self._aliased = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            return self._count_alias(super().compose_node(parent, index), event)
        if self._level >= _DEEPEST:
            raise yaml.composer.ComposerError(None, None, f"more than {_DEEPEST} levels", event.start_mark)
        self._level += 1
        node = super().compose_node(parent, index)
        self._level -= 1
        if isinstance(node, yaml.CollectionNode):
            parts = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
            sizes = [self._size.get(id(part), (1, 1)) for part in parts] or [(0, 0)]
            self._size[id(node)] = 1 + sum(values for values, _ in sizes), 1 + max(levels for _, levels in sizes)
        return node

    def _count_alias(self, node: yaml.Node | None, event: Any) -> yaml.Node | None:
        if isinstance(node, yaml.CollectionNode) and id(node) not in self._size:
            raise yaml.composer.ComposerError(None, None, "an alias within what it stands for", event.start_mark)
        values, levels = self._size.get(id(node), (1, 1))
        self._aliased += values
        if self._aliased > _MOST_ALIASED or self._level + levels > _DEEPEST:
            problem = f"its aliases stand for more than {_MOST_ALIASED} values or {_DEEPEST} levels"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return node


_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:null|~|)$"), ["n", "~", ""])
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^-?(?:0|[1-9][0-9]*)$"), list("-0123456789"))
_FLOAT = re.compile(r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$")
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


class _QuotingDumper(yaml.SafeDumper):
    """Puts in quotes what other readers of YAML or the one here would take for something else than text."""


_QuotingDumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


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


def _no_tag(loader: _StrictLoader, node: yaml.Node) -> None:
    raise yaml.constructor.ConstructorError(None, None, f"the tag {node.tag!r} is not taken", node.start_mark)


for _kind in ("binary", "timestamp", "omap", "pairs", "set"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _no_tag)
_StrictLoader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _plain_float)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping; `InputError` names the file and line otherwise."""
    return parse_yaml(read_text(path, _LARGEST_BYTES), where=path)


def parse_yaml(text: str, *, where: str | Path) -> dict[str, Any]:
    """Parse YAML text whose top level is a mapping."""
    try:
        content = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  (a SafeLoader, made stricter)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        reason = printable(getattr(error, "problem", None) or str(error), most=_LONGEST_VALUE)
        raise InputError(f"this is not valid YAML{line}: {reason}", where=where) from error
    if not isinstance(content, dict):
        raise InputError("'key: value' lines are wanted at the top level", where=where)
    return content


def dump_yaml(content: Mapping[str, Any]) -> str:
    """A mapping as YAML text that `parse_yaml` reads back as it is, keys in their order."""
    text: str = yaml.dump(dict(content), Dumper=_QuotingDumper, sort_keys=False, allow_unicode=True)
    return text


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
        found = error.errors(include_url=False, include_context=False)
        faults = "; ".join(_fault(model, item) for item in found[:_MOST_FAULTS])
        more = f"; and {len(found) - _MOST_FAULTS} more" if len(found) > _MOST_FAULTS else ""
        raise InputError(faults + more, where=where) from error


def _fault(model: type[BaseModel], item: Mapping[str, Any]) -> str:
    path = [printable(str(part), most=_LONGEST_VALUE) for part in item["loc"]]
    name = ".".join(path)
    if item["type"] == "extra_forbidden":
        return f"unknown key {name!r}{_nearest_key(model, path)}"
    if item["type"] == "missing":
        return f"the key {name!r} is missing"
    got = "empty" if item["input"] is None else printable(repr(item["input"]), most=_LONGEST_VALUE)
    if item["type"] == "model_type":
        keys = [f"{name}.{key}" for key in _keys_at(model, path)]
        return f"{name!r} is {got}, a group of settings is wanted: {', '.join(keys)}"
    said = item["msg"].removeprefix("Value error, ")
    if isinstance(item["input"], Mapping):  # a fault of several keys together: all of them at length hide the words
        return f"{name!r}: {said}" if name else said
    names = _names_at(model, path)
    allowed = f"; known: {', '.join(names)}" if names and "Known" not in said else ""
    return f"{name!r} is {got}: {said}{allowed}"


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
    own_name = False  # whether the next part is a name that is no field, as that of a structure
    for part in path:
        if own_name or part.isdigit() or current is None:
            own_name = False
            continue
        info: FieldInfo | None = current.model_fields.get(part)
        own_name = info is not None and get_origin(info.annotation) is dict
        current = None if info is None else _model_in(info.annotation)
    return current


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for m in map(_model_in, getattr(annotation, "__args__", ())) if m is not None), None)
