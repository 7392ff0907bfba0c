"""The page of settings, from the pydantic models themselves, wherever in the packages they stand.

A model that is a field of another one is described within it; those of no other model are the files a user writes.
What a docstring says in a sentence with the name of a field in backticks is the description of that field, unless the
field brings its own.
"""

import pkgutil
import sys
import types
import typing
from importlib import import_module
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nufitdose.commented_settings import bounds_of, sentences_of

PACKAGES = ("dosimetry", "pretrain", "finetune", "nufitdose")
_PLAIN: dict[object, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "null",
    object: "anything",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add reference/configuration.md."""
    root = str(Path(config.config_file_path).parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    files.append(File.generated(config, "reference/configuration.md", content=page(models())))
    return files


def models() -> list[type[BaseModel]]:
    """All models of settings, by the order of `PACKAGES` and by name."""
    base = import_module("nufitdose.config").Settings
    for package in PACKAGES:
        for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                import_module(module.name)
    found: list[type[BaseModel]] = []
    waiting = [base]
    while waiting:
        below = waiting.pop().__subclasses__()
        found += [model for model in below if model.__module__.split(".")[0] in PACKAGES]
        waiting += below
    return sorted(set(found), key=lambda model: (PACKAGES.index(model.__module__.split(".")[0]), model.__name__))


def page(found: list[type[BaseModel]]) -> str:
    """The page: every model that stands by itself, followed by the models within it; each once."""
    within = {part for model in found for field in model.model_fields.values() for part in parts_of(field.annotation)}
    bases = {base for model in found for base in model.__bases__}
    roots = [model for model in found if model not in within and model not in bases]
    sections = [section(model) for model in dict.fromkeys(model for root in roots for model in whole(root))]
    intro = (
        "# Settings\n\nEvery key that a YAML file or `--set` may hold, read from the program when this page was built. "
        "Unknown keys are refused. A key of a model within another is written `outer.inner`, as "
        "`--set registration.engine=rigid`.\n\n"
        f"Models that stand by themselves: {', '.join(map(link, roots))}.\n"
    )
    return "\n".join([intro, *sections])


def section(model: type[BaseModel]) -> str:
    """One model: what it is, and a table of its fields."""
    sentences = sentences_of(model)
    general = [said for said, named in sentences if not named]
    rows = [
        row(name, field, [said for said, named in sentences if name in named])
        for name, field in model.model_fields.items()
    ]
    head = [f"## {model.__name__}", " ".join(general), f"`{model.__module__}`"]
    table = ["| key | type | default | meaning |", "|---|---|---|---|", *rows]
    return "\n\n".join([*filter(None, head), "\n".join(table)]) + "\n"


def row(name: str, field: FieldInfo, sentences: list[str]) -> str:
    """One field as a row of the table."""
    meaning = field.description or " ".join(sentences)
    key = field.alias or name
    cells = [f"`{key}`", type_of(field.annotation) + bounds_of(field), default_of(field), meaning]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def type_of(annotation: object) -> str:
    """A type as a reader of YAML sees it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_of(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(type_of(part) for part in arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"list of {type_of(arguments[0])}"
    if origin in (tuple, list):
        return f"list: {', '.join(type_of(part) for part in arguments)}"
    if origin is not None and len(arguments) == 2:
        return f"mapping of {type_of(arguments[0])} to {type_of(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return link(annotation)
    return _PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)))


def default_of(field: FieldInfo) -> str:
    """The default as it would be written in YAML; models show theirs in their own table."""
    if field.is_required():
        return "wanted"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "as below"
    if value is None or isinstance(value, bool):
        return f"`{str(value).lower().replace('none', 'null')}`"
    if isinstance(value, tuple | list):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def whole(model: type[BaseModel]) -> list[type[BaseModel]]:
    """A model and all models within it, depth first."""
    parts = [part for field in model.model_fields.values() for part in parts_of(field.annotation)]
    return [model, *(below for part in parts for below in whole(part))]


def parts_of(annotation: object) -> list[type[BaseModel]]:
    """The models within a type."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [part for argument in typing.get_args(annotation) for part in parts_of(argument)]


def link(model: type[BaseModel]) -> str:
    """A link to the section of a model."""
    return f"[{model.__name__}](#{model.__name__.lower()})"
