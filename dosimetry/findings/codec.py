"""Trees of values as JSON and arrays, and back, each number to the last bit.

A value that JSON has no form for is an object with one key that begins with `~` and names its kind. Only dataclasses,
enumerations and settings of this program are made again, by the name of their class.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nufitdose.config import Settings

Arrays = dict[str, NDArray[Any]]
_OWN = ("dosimetry.", "nufitdose.")


def encode(value: Any, arrays: Arrays) -> Any:
    """The value as JSON has it; arrays are added to `arrays` under the names by which the JSON knows them."""
    if isinstance(value, Enum):
        return {"~enum": _name(type(value)), "is": value.name}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"~float": repr(float(value))}
    if isinstance(value, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {"~array": name}
    if isinstance(value, np.generic):
        return encode(value.item(), arrays)
    if isinstance(value, datetime):
        return {"~time": value.isoformat()}
    if isinstance(value, list):
        return [encode(item, arrays) for item in value]
    if isinstance(value, tuple | frozenset):
        kind = "~tuple" if isinstance(value, tuple) else "~set"
        return {kind: [encode(item, arrays) for item in value]}
    if isinstance(value, Mapping):
        return {"~map": [[encode(key, arrays), encode(item, arrays)] for key, item in value.items()]}
    if isinstance(value, Settings):
        return {"~settings": _name(type(value)), "is": value.model_dump(mode="json")}
    if is_dataclass(value) and not isinstance(value, type):
        content = {field.name: encode(getattr(value, field.name), arrays) for field in fields(value) if field.init}
        return {"~value": _name(type(value)), "is": content}
    raise TypeError(f"{type(value).__name__} has no form in a results folder")


def decode(content: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """What `encode` was given. Raises `ValueError`, `TypeError` or `KeyError` on what this program cannot have made."""
    if isinstance(content, list):
        return [decode(item, arrays) for item in content]
    if not isinstance(content, dict):
        return content
    kind = next(iter(content))
    return _MAKERS[kind](content[kind], content.get("is"), arrays)


def _name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _own_class(name: str, wanted: Callable[[type], bool]) -> Any:
    module, _, cls = name.partition(":")
    if not module.startswith(_OWN):
        raise ValueError(f"{name} is not of this program")
    found = getattr(import_module(module), cls)
    if not (isinstance(found, type) and wanted(found)):
        raise ValueError(f"{name} is no value")
    return found


def _make_dataclass(name: str, content: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Any:
    cls = _own_class(name, is_dataclass)
    return cls(**{key: decode(item, arrays) for key, item in content.items()})


_MAKERS: Mapping[str, Callable[[Any, Any, Mapping[str, NDArray[Any]]], Any]] = {
    "~enum": lambda name, content, _: _own_class(name, lambda cls: issubclass(cls, Enum))[content],
    "~float": lambda text, _, __: float(text),
    "~array": lambda name, _, arrays: arrays[name],
    "~time": lambda text, _, __: datetime.fromisoformat(text),
    "~tuple": lambda items, _, arrays: tuple(decode(item, arrays) for item in items),
    "~set": lambda items, _, arrays: frozenset(decode(item, arrays) for item in items),
    "~map": lambda pairs, _, arrays: {decode(key, arrays): decode(item, arrays) for key, item in pairs},
    "~settings": lambda name, content, _: _own_class(name, lambda cls: issubclass(cls, Settings)).model_validate(
        content
    ),
    "~value": _make_dataclass,
}
