"""Every command, option, setting and configuration file that README and the pages of docs/ name is there."""

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from dosimetry.config import DosimetrySettings
from finetune.config import CorrectionSettings, FinetuneSettings
from nufitdose import cli
from nufitdose.config import build, read_yaml, with_overrides
from pretrain.config import PretrainSettings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = typer.main.get_command(cli.app)
#: By command, or by what learns; the others take the settings of dosimetry.
STAGES = {"pretrain": PretrainSettings, "finetune": FinetuneSettings, "correction": CorrectionSettings}
OF_OTHERS = {  # options of make's, docker's and other programs' that pages name beside ours
    "--beside", "--gpus", "--nthreads", "--nv", "--network", "--read-only", "--rows", "--user", "--target",
}  # fmt: skip


def options_of(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help", "-h"
    }  # fmt: skip


def every_option(command: Any) -> set[str]:
    inner = getattr(command, "commands", {}).values()
    return options_of(command).union(*(every_option(one) for one in inner))


def documented(page: Path) -> list[str]:
    """Command lines in blocks, comments and brackets of what may be left out removed; and those within sentences."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    joined = "\n".join(blocks).replace("\\\n", " ")
    found = re.findall(r"^\s*(?:time )?nufitdose (.+)$", joined, re.MULTILINE)
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    found += re.findall(r"`nufitdose ([^`\n]+)`", prose)
    return [re.sub(r"[\[\]]|\s+#.*$|\s>.*$|&$", " ", line).strip() for line in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page_exist_with_their_options_and_settings(page):
    for line in documented(page):
        words = [word for word in shlex.split(line) if word not in {"...", "…"}]
        command: Any = COMMANDS
        while words and hasattr(command, "commands") and not words[0].startswith("-"):
            for name in words[0].split("|"):
                assert name in command.commands, f"{page.name}: nufitdose {line}"
            command = command.commands[words.pop(0).split("|")[0]]
        given = [word.split("=")[0] for word in words if word.startswith("--")]
        assert set(given) <= options_of(command), f"{page.name}: nufitdose {line}"
        overrides = [value for option, value in pairwise(words) if option == "--set"]
        settings = [value for value in overrides if re.fullmatch(r"[\w.]+=[\w./-]+", value) and value != "key=value"]
        if settings and "--set" in given:
            start = [file for file in words if file.startswith("configs/")]
            content = with_overrides(read_yaml(ROOT / start[0]) if start else {}, settings)
            model = STAGES.get(content.get("learns", str(command.name)), DosimetrySettings)
            build(model, content, where=page)


def test_options_within_sentences_exist():
    known = every_option(COMMANDS) | OF_OTHERS
    for page in PAGES:
        for named in re.findall(r"`(--[a-z][a-z-]*)", page.read_text(encoding="utf-8")):
            assert named in known, f"{page.name}: {named}"


def test_configuration_files_that_are_named_exist():
    for page in PAGES:
        for named in re.findall(r"configs/\w+\.yaml", page.read_text(encoding="utf-8")):
            assert (ROOT / named).is_file(), f"{page.name}: {named}"


def test_targets_of_make_exist():
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        for named in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert named in rules, f"{page.name}: make {named}"


def test_every_command_stands_in_the_pages():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in COMMANDS.commands:
        assert f"nufitdose {name}" in text, name
