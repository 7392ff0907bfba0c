"""The page in a real browser: no error, a viewer that draws, tables that sort, everything reached by the keyboard."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.chromium import find_chromium, in_chromium
from support.report_patient import patient, record, write_page

pytestmark = pytest.mark.slow

#: What a reader does, as a script at the end of the page; what came of it is left in attributes.
ACTS = """
<script>
addEventListener("load", () => {
  const said = document.documentElement.dataset, table = document.querySelector("#dose table.sortable");
  const column = [...table.querySelectorAll("thead th")].findIndex((head) => head.textContent.includes("mean"));
  const button = table.querySelectorAll("thead th")[column].querySelector("button");
  const values = () => [...table.tBodies[0].rows].map((row) => row.cells[column].textContent.trim()).join("|");
  said.unsorted = values(); button.click(); said.ascending = values(); button.click(); said.descending = values();
  button.click(); said.again = values();
  const histogram = document.querySelector(".histogram");
  histogram.querySelector("svg").dispatchEvent(new KeyboardEvent("keydown", { key: "PageUp" }));
  said.told = histogram.querySelector(".told").textContent;
  histogram.querySelector("button").click();
  said.hidden = String(histogram.querySelectorAll("polyline[style*=none]").length);
  const active = document.querySelectorAll("button, input, select, a[href], [tabindex]");
  said.unreachable = String([...active].filter((item) => item.tabIndex < 0).length);
  said.unnamed = String([...active].filter((item) => !item.textContent.trim() && !item.getAttribute("aria-label")
    && !(item.labels && item.labels.length && item.labels[0].textContent.trim())).length);
  said.wide = String(document.documentElement.scrollWidth - innerWidth);
  setTimeout(() => {
    const go = document.querySelector("[data-go]");
    if (go) go.click();
    said.place = document.querySelector("#viewer .told").textContent;
  }, 8000);
});
</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    find_chromium()
    place = tmp_path_factory.mktemp("browser")
    return write_page(patient(), record(), place)


def test_the_page_works_without_an_error(page, tmp_path):
    text = page.read_text(encoding="utf-8")
    acted = tmp_path / "acted.html"
    before, end, after = text.rpartition("</body>")
    acted.write_text(before + ACTS + end + after, encoding="utf-8")
    dom, console = in_chromium(acted, tmp_path, "--dump-dom", width=400)
    assert console == []
    said = dict(re.findall(r'data-([a-z]+)="([^"]*)"', dom[dom.index("<html") : dom.index("<head")]))
    assert re.search(r'id="viewer" data-state="drawn"', dom)
    assert "liver" in said["place"]
    assert re.search(r"dose [0-9.]+ Gy", said["place"])
    ascending, descending = (said[order].split("|") for order in ("ascending", "descending"))
    assert ascending == descending[::-1] == sorted(ascending, key=lambda cell: float(cell.split()[0]))
    assert descending != said["unsorted"].split("|")
    assert said["again"] == said["unsorted"]
    assert re.match(r"at least [0-9.e-]+ Gy: liver [0-9.]+ %", said["told"])
    assert said["hidden"] == "1"
    assert said["unreachable"] == said["unnamed"] == "0"
    assert int(said["wide"]) <= 0  # nothing runs beyond 400 pixels


@pytest.mark.parametrize(("width", "dark"), [(1000, False), (400, False), (1000, True)])
def test_it_shows_light_dark_wide_and_narrow(page, tmp_path, width, dark):
    picture = tmp_path / "page.png"
    options = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
    _, console = in_chromium(page, tmp_path, f"--screenshot={picture}", *options, width=width)
    assert console == []
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("L"), dtype=float)
    assert pixels.shape[1] == width
    assert (np.median(pixels) < 60) == dark
    assert pixels.std() > 10


def test_the_viewer_shows_the_dose(page, tmp_path):
    """With the dose over the CT there is colour on the canvas; a page that draws nothing is black there."""
    text = page.read_text(encoding="utf-8")
    alone = tmp_path / "alone.html"
    alone.write_text(text.replace("</style>", ".still, header, section:not(#look) { display: none; }</style>", 1))
    picture = tmp_path / "viewer.png"
    in_chromium(alone, tmp_path, f"--screenshot={picture}", height=700)
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=int)
    coloured = (pixels.max(axis=2) - pixels.min(axis=2) > 60) & (pixels.sum(axis=2) > 150)
    assert coloured.sum() > 3000
