"""The page printed: patient and number at the foot of every page, whatever the patient is called."""

import re

import pytest
from support.chromium import find_chromium

from dosimetry.report.pdf import css_string, print_pdf
from nufitdose.errors import InputError


def test_a_name_stays_one_string_in_css():
    hostile = '"; } </style><script>alert(1)</script> \\ 肝\n'
    written = css_string(hostile)
    assert re.fullmatch(r'"(?:[A-Za-z0-9]|\\[0-9a-f]{6})*"', written)
    assert re.sub(r"\\([0-9a-f]{6})", lambda found: chr(int(found[1], 16)), written[1:-1]) == hostile


def test_without_a_browser_it_is_said_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="no browser that prints"):
        print_pdf(tmp_path / "report.html")


@pytest.mark.slow
def test_pages_are_printed(tmp_path):
    find_chromium()
    page = tmp_path / "report.html"
    page.write_text("<h1>one</h1><h1 style='break-before: page'>two</h1>")
    printed = print_pdf(page)
    assert printed == tmp_path / "report.pdf"
    content = printed.read_bytes()
    assert content.startswith(b"%PDF-")
    assert b"/Count 2" in content
