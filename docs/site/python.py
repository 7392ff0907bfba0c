"""One page for each module of the four packages, and the check that no public name is missing from them.

Sources are read by griffe, never imported; what the walk finds is what there is, so a module that moves takes its
page along. Modules without a public name that has a docstring get no page.
"""

import contextlib
import typing
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocstrings import Inventory

PACKAGES = ("nufitdose", "dosimetry", "pretrain", "finetune")
FOLDER = "reference/python"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and hang them into the navigation, one branch a package."""
    reference = next(item["Reference"] for item in config.nav or [] if isinstance(item, dict) and "Reference" in item)
    branch = next(item for item in reference if isinstance(item, dict) and "Python" in item)
    branch["Python"] = []
    for package in packages(Path(config.config_file_path).parent):
        pages = []
        for module in modules_of(package):
            if module.is_init_module or documented(module):
                name = f"{FOLDER}/{module.path.replace('.', '/')}" + ("/index.md" if module.is_init_module else ".md")
                files.append(File.generated(config, name, content=page(module)))
                pages.append({module.path: name})
        branch["Python"].append({package.name: pages})
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Stop the build where a public name with a docstring is on no page."""
    with (Path(config.site_dir) / "objects.inv").open("rb") as file:
        shown = set(Inventory.parse_sphinx(file, domain_filter=("py",)))
    wanted = {
        found.path
        for package in packages(Path(config.config_file_path).parent)
        for module in modules_of(package)
        for found in documented(module)
    }
    if missing := sorted(wanted - shown):
        raise PluginError("public names without a place in the reference: " + ", ".join(missing))


@lru_cache
def packages(root: Path) -> list[griffe.Module]:
    """The four packages as griffe reads them."""
    loader = griffe.GriffeLoader(search_paths=[root], allow_inspection=False)
    return [typing.cast("griffe.Module", loader.load(name)) for name in PACKAGES]


def modules_of(module: griffe.Module) -> Iterator[griffe.Module]:
    """A module and those within it, private ones and `__main__` left out."""
    yield module
    for name, below in sorted(module.modules.items()):
        if not name.startswith("_") and not below.is_alias:
            yield from modules_of(below)


def documented(parent: griffe.Module | griffe.Class) -> list[typing.Any]:
    """Public functions, classes and methods with a docstring that are defined here, not imported."""
    found: list[typing.Any] = []
    for name, member in parent.members.items():
        if name.startswith("_") or member.is_alias or member.is_module:
            continue
        if member.docstring and (member.is_function or member.is_class):
            found.append(member)
        if isinstance(member, griffe.Class):
            found += documented(member) if member.docstring else []
    return found


def page(module: griffe.Module) -> str:
    """The page of a module; that of a package starts with the names it offers from within."""
    lines = [f"# {module.path}", ""]
    if module.is_init_module and (offered := offers(module)):
        names = ", ".join(f"[`{name}`][{path}]" for name, path in offered.items())
        lines += [f"`from {module.path} import` {names}", ""]
    lines += [f"::: {module.path}"]
    if module.is_init_module:
        lines += ["    options:", "      filters: ['!.*']"] if not documented(module) else []
    return "\n".join(lines) + "\n"


def offers(package: griffe.Module) -> dict[str, str]:
    """The functions and classes that a package lends from its modules, and where each of them stands."""
    found = {}
    for name, member in sorted(package.members.items()):
        if name.startswith("_") or not member.is_alias or member.target_path.split(".")[0] not in PACKAGES:
            continue
        with contextlib.suppress(griffe.AliasResolutionError):  # a name bound in a way that cannot be read
            target = member.final_target
            if target.docstring and (target.is_function or target.is_class):
                found[name] = target.path
    return found
