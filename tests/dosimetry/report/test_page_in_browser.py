"""The page in a real browser: no error, a viewer that draws, tables that sort, everything reached by the keyboard."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.axe import grave_violations
from support.chromium import Browser, chromium, find_chromium
from support.report_patient import everything, record, write_page

pytestmark = pytest.mark.slow

WAIT_FOR_VIEWER = """
new Promise((done) => {
  const look = () => {
    const state = document.getElementById("viewer").dataset.state;
    if (state) done(state); else setTimeout(look, 50);
  };
  look();
})
"""
#: What Tab is to reach: all that acts and shows; of a choice the button that is on, arrows reach the others.
LISTEN = """
window.wanted = [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex]")].filter((item) =>
  item.checkVisibility() && !item.disabled && !(item.type === "radio" && !item.checked));
window.reached = new Set();
document.addEventListener("focusin", (event) => window.reached.add(event.target));
window.wanted.length
"""
UNNAMED = """
window.wanted.filter((item) => !item.textContent.trim() && !item.getAttribute("aria-label")
  && !(item.labels && item.labels.length && item.labels[0].textContent.trim())).map((item) => item.outerHTML)
"""
COLUMN = """
(() => {
  const table = document.querySelector("#dose table.sortable");
  const column = [...table.querySelectorAll("thead th")].findIndex((head) => head.textContent.includes("mean"));
  if (%s) table.querySelectorAll("thead th")[column].querySelector("button").focus();
  return [...table.tBodies[0].rows].map((row) => row.cells[column].textContent.trim());
})()
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    find_chromium()
    return write_page(everything(), record(), tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("browser")) as found:
        yield found


def test_the_viewer_draws_the_dose_and_goes_to_a_structure(page, browser, tmp_path):
    """With the dose over the CT there is colour on the canvas; a page that draws nothing is black there."""
    browser.open(page, width=400)
    assert browser.run(WAIT_FOR_VIEWER) == "drawn"
    browser.run("document.querySelector('[data-go]').click()")
    place = browser.run("document.querySelector('#viewer .told').textContent")
    assert "liver" in place
    assert re.search(r"dose [0-9.]+ Gy", place)
    browser.run("document.querySelector('#look canvas').scrollIntoView()")
    with Image.open(browser.picture(tmp_path / "viewer.png")) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=int)
    coloured = (pixels.max(axis=2) - pixels.min(axis=2) > 60) & (pixels.sum(axis=2) > 150)
    assert coloured.sum() > 1000
    assert browser.console == []


def test_the_keyboard_reaches_and_works_everything(page, browser):
    browser.open(page)
    browser.run(WAIT_FOR_VIEWER)
    for _ in range(browser.run(LISTEN) + 1):
        browser.press("Tab", 9)
    assert browser.run("wanted.filter((item) => !reached.has(item)).map((item) => item.outerHTML)") == []
    assert browser.run(UNNAMED) == []
    unsorted = browser.run(COLUMN % "true")
    orders = []
    for _ in range(3):
        browser.press(" ", 32, " ")
        orders.append(browser.run(COLUMN % "false"))
    ascending, descending, again = orders
    assert ascending == descending[::-1] == sorted(ascending, key=lambda cell: float(cell.split()[0]))
    assert descending != unsorted == again
    for part, first, second in (("#curves", "both", "linear"), ("#histograms", "cumulative", "differential")):
        assert browser.run(f"document.querySelector('{part}').dataset.shown") == first
        browser.run(f"document.querySelector('[data-of=\"{part}\"] input').focus()")
        browser.press("ArrowRight", 39)
        assert browser.run(f"document.querySelector('{part}').dataset.shown") == second
    assert browser.console == []


def test_histograms_answer_and_hide(page, browser):
    browser.open(page)
    found = browser.run("""
      [...document.querySelectorAll(".histogram")].map((part) => [...part.querySelectorAll("svg.dvh")].map((svg) => {
        svg.dispatchEvent(new KeyboardEvent("keydown", { key: "PageUp" }));
        return svg.parentNode.querySelector(".told").textContent;
      }))
    """)
    assert len(found) == 3  # organs, tumours, derived
    cumulative, differential = found[0]
    assert re.match(r"at least [0-9.e-]+ Gy: liver [0-9.]+ %, kidney_left", cumulative)
    assert re.match(r"at [0-9.e-]+ Gy: liver [0-9.e+-]+ %/Gy, kidney_left", differential)
    browser.run("document.querySelector('.histogram button').click()")
    assert browser.run("document.querySelectorAll('polyline[data-structure][style*=none]').length") == 2
    assert "liver" not in browser.run("document.querySelector('.histogram .told').textContent")


@pytest.mark.parametrize(("width", "dark"), [(1000, False), (400, False), (1000, True), (400, True)])
def test_it_shows_light_dark_wide_and_narrow(page, browser, tmp_path, width, dark):
    browser.open(page, width=width, dark=dark)
    assert browser.run("document.documentElement.scrollWidth - innerWidth") <= 0  # nothing runs beyond the page
    with Image.open(browser.picture(tmp_path / "page.png")) as image:
        pixels = np.asarray(image.convert("L"), dtype=float)
    assert pixels.shape[1] == width
    assert (np.median(pixels) < 60) == dark
    assert pixels.std() > 10
    assert browser.console == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_rules_of_axe_find_nothing_grave(page, browser, dark):
    browser.open(page, dark=dark)
    browser.run(WAIT_FOR_VIEWER)
    browser.run("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert grave_violations(browser) == []
