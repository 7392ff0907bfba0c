"""The scripts and notebooks of examples/ as pages of the tutorial: text cells become text, code cells become code."""

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_CELL = re.compile(r"^# %%(?P<kind> \[markdown\])?.*$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add one page an example, notebooks first, each in the order of their names."""
    examples = Path(config.config_file_path).parent / "examples"
    tutorial = next(item["Tutorial"] for item in config.nav or [] if isinstance(item, dict) and "Tutorial" in item)
    for example in [*sorted(examples.glob("*.ipynb")), *sorted(examples.glob("*.py"))]:
        name = f"tutorial/{example.stem}.md"
        files.append(File.generated(config, name, content=page_of(example)))
        if name not in tutorial:
            tutorial.append(name)
    return files


def page_of(example: Path) -> str:
    """A percent-format script or a notebook as Markdown, ended by where it lies."""
    text = example.read_text(encoding="utf-8")
    notebook = example.suffix == ".ipynb"
    parts = _cells_of_notebook(json.loads(text)) if notebook else _cells_of_script(text)
    how = "open it in Jupyter" if notebook else f"`python examples/{example.name}`"
    return "\n\n".join([*parts, f"This page is `examples/{example.name}`: {how}.\n"])


def _cells_of_script(text: str) -> list[str]:
    cells = list(_CELL.finditer(text))
    ends = [cell.start() for cell in cells[1:]] + [len(text)]
    parts = []
    for cell, end in zip(cells, ends, strict=True):
        body = text[cell.end() : end].strip("\n")
        if cell["kind"]:
            parts.append(re.sub(r"^# ?", "", body, flags=re.MULTILINE))
        elif body:
            parts.append(f"```python\n{body}\n```")
    return parts


def _cells_of_notebook(content: dict[str, Any]) -> list[str]:
    parts = []
    for cell in content["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            if "text" in output:
                parts.append(f"```text\n{''.join(output['text']).rstrip()}\n```")
            if picture := output.get("data", {}).get("image/png"):
                parts.append(f"![what the cell draws](data:image/png;base64,{''.join(picture.split())})")
    return parts
