"""The rules of axe-core, run in a page: what a reader with a screen reader, a keyboard or weak eyes stumbles over."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from support.chromium import Browser

_PACKAGE = "axe_playwright_python"  # which carries axe.min.js; nothing of it is imported
_GRAVE = ("serious", "critical")
_ASK = """
axe.run(document, { resultTypes: ["violations"] }).then((found) => found.violations.map((rule) =>
  rule.impact + ": " + rule.id + " (" + rule.help + "): " + rule.nodes.slice(0, 3).map((node) => node.html).join("; ")))
"""


def find_axe() -> str:
    """The script; the test is skipped where it is not installed."""
    found = find_spec(_PACKAGE)
    if found is None or found.origin is None:
        pytest.skip("axe-playwright-python is not installed: the rules of axe-core are not tried")
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


def grave_violations(browser: Browser) -> list[str]:
    """The serious and critical violations of the page that is shown, each with some of its places."""
    browser.run(f"{find_axe()}; 0")
    return [line for line in browser.run(_ASK) if line.startswith(_GRAVE)]
