"""What the page on the import names is there."""

import re
from pathlib import Path

import typer

from nufitdose import cli
from nufitdose.io.importer.facts import FACTS

PAGE = (Path(__file__).parents[3] / "docs/how-to/import.md").read_text(encoding="utf-8")


def test_every_option_and_fact_on_the_page_exists_and_every_one_there_is_stands_on_it():
    command = typer.main.get_command(cli.app).commands["import"]
    options = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE))
    assert named <= options
    assert options - named <= {"--help", "--reference"}
    facts = set(re.findall(r"`([a-z_]+)`(?:\s*\(|,|\.)", PAGE.split("The facts:")[1].split("\n- ")[0]))
    assert facts == set(FACTS)
    assert set(re.findall(r"--for \w+ ([a-z_]+)=", PAGE)) <= set(FACTS)


def test_every_test_that_the_page_names_is_there():
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) >= 10
    for file, test in named:
        assert f"def {test}(" in (Path(__file__).parent / file).read_text(encoding="utf-8"), (file, test)
