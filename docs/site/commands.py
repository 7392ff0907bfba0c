"""The page of commands, as typer documents them."""

import os
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add reference/commands.md."""
    root = Path(config.config_file_path).parent
    files.append(File.generated(config, "reference/commands.md", content=commands(root)))
    return files


def commands(root: Path) -> str:
    """The help of `nufitdose` and of all its sub-commands in Markdown."""
    asked = [
        sys.executable,
        "-m",
        "typer",
        "nufitdose.cli",
        "utils",
        "docs",
        "--name",
        "nufitdose",
        "--title",
        "Commands",
    ]
    environment = {**os.environ, "PYTHONPATH": str(root), "NO_COLOR": "1", "COLUMNS": "200"}
    answer = subprocess.run(asked, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise PluginError(f"the help of nufitdose could not be read:\n{answer.stderr}")
    return answer.stdout
