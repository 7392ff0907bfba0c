"""The scripts of examples/ as pages of the tutorial: text cells become text, code cells become code."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_CELL = re.compile(r"^# %%(?P<kind> \[markdown\])?.*$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add one page a script, in the order of their names."""
    scripts = sorted((Path(config.config_file_path).parent / "examples").glob("*.py"))
    tutorial = next(item["Tutorial"] for item in config.nav or [] if isinstance(item, dict) and "Tutorial" in item)
    for script in scripts:
        name = f"tutorial/{script.stem}.md"
        files.append(File.generated(config, name, content=page_of(script)))
        if name not in tutorial:
            tutorial.append(name)
    return files


def page_of(script: Path) -> str:
    """A percent-format script as Markdown, headed by where it lies."""
    text = script.read_text(encoding="utf-8")
    cells = list(_CELL.finditer(text))
    ends = [cell.start() for cell in cells[1:]] + [len(text)]
    parts = []
    for cell, end in zip(cells, ends, strict=True):
        body = text[cell.end() : end].strip("\n")
        if cell["kind"]:
            parts.append(re.sub(r"^# ?", "", body, flags=re.MULTILINE))
        elif body:
            parts.append(f"```python\n{body}\n```")
    return "\n\n".join([*parts, f"This page is `examples/{script.name}`: `python examples/{script.name}`.\n"])
