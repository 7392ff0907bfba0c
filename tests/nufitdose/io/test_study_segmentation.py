"""Organs by TotalSegmentator: a stand-in for the program on the PATH, and what stands in the study afterwards."""

import http.server
import os
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from support.small_study import GRID, small_study_folder, sphere

from nufitdose.errors import InputError, RunStopped
from nufitdose.io.nifti import load_volume
from nufitdose.io.study_folder import load_study
from nufitdose.io.study_segmentation import segment_study
from nufitdose.io.totalsegmentator import ORGANS, USUAL

# Draws every class that is asked for as a ball of its own place in the voxels above -500 HU; spleen is never found.
STAND_IN = """#!{python}
import argparse, os, pathlib, sys, urllib.request
import nibabel, numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("-i"), parser.add_argument("-o"), parser.add_argument("-ta"), parser.add_argument("-d")
parser.add_argument("--roi_subset", nargs="+"), parser.add_argument("--fast", action="store_true")
given = parser.parse_args()
with open(os.environ["STAND_IN_LOG"], "a") as log:
    print(*sys.argv[1:], file=log)
if os.environ.get("STAND_IN_URL"):
    urllib.request.urlopen(os.environ["STAND_IN_URL"], timeout=5).read()
if os.environ.get("STAND_IN_FAILS"):
    sys.exit("no weights here")
ct = nibabel.load(given.i)
inside = np.asarray(ct.dataobj) > -500
at = np.stack(np.meshgrid(*map(np.arange, inside.shape), indexing="ij"), -1)
pathlib.Path(given.o).mkdir()
glands = ["parotid_gland_left", "parotid_gland_right", "submandibular_gland_left", "skull"]
for number, name in enumerate(given.roi_subset or glands):
    centre = np.array(inside.shape) / 2 + [2 * number - 3, 0, 0]
    mask = inside & (np.linalg.norm(at - centre, axis=-1) < 1.9) & (name != "spleen")
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), ct.affine), os.path.join(given.o, name + ".nii.gz"))
"""


@pytest.fixture
def program(tmp_path, monkeypatch) -> Path:
    """The stand-in on the PATH; the file in which it writes how it was called."""
    folder = tmp_path / "programs"
    folder.mkdir()
    command = folder / "TotalSegmentator"
    command.write_text(STAND_IN.format(python=sys.executable))
    command.chmod(0o755)
    log = tmp_path / "calls.txt"
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_LOG", str(log))
    return log


def segment(study: Path, names=USUAL, **how) -> str:
    return "\n".join(segment_study(study, names, **how))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_organs_enter_a_study_without_structures(program, tmp_path):
    """Names are ours, masks those of the program; what was not found is told, the manifest before is kept."""
    folder = small_study_folder(tmp_path / "study", structures=False)
    before = contents(folder)
    told = segment(folder)
    assert "spleen was not found on the CT" in told
    study = load_study(folder)
    assert study.structures.present() == ("kidney_left", "kidney_right", "liver")
    mask, layer = study.structures.mask("liver")
    assert layer.grid.matches(study.reference.ct.grid)
    at = np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), -1)
    ball = np.linalg.norm(at - (np.array(GRID.shape) / 2 + [1, 0, 0]), axis=-1) < 1.9
    np.testing.assert_array_equal(mask, ball & sphere(60.0))
    assert any("drawn by TotalSegmentator" in statement for statement in study.statements)
    after = contents(folder)
    assert after["study_before_segment.yaml"] == before["study.yaml"]
    assert all(after[name] == content for name, content in before.items() if name != "study.yaml")
    assert program.read_text().split()[4:] == ["-ta", "total", "--roi_subset", *USUAL]


def test_drawn_structures_are_not_overwritten(program, tmp_path):
    folder = small_study_folder(tmp_path / "study")
    before = contents(folder)
    with pytest.raises(InputError, match=r"has structures already \(liver\).*--add.*--replace"):
        segment(folder)
    assert contents(folder) == before
    assert not program.exists(), "the program ran for nothing"


def test_added_organs_leave_drawn_ones(program, tmp_path):
    """The drawn liver keeps its voxels and its label, to the bit; only organs of other names come."""
    folder = small_study_folder(tmp_path / "study")
    drawn, _ = load_study(folder).structures.mask("liver")
    told = segment(folder, ("liver", "kidney_left"), present="add")
    assert "liver is drawn already and stays" in told
    study = load_study(folder)
    assert study.structures.names == {1: "liver", 2: "kidney_left"}
    np.testing.assert_array_equal(study.structures.mask("liver")[0], drawn)
    assert "--roi_subset kidney_left" in program.read_text()
    assert "nothing is left" in segment(folder, ("liver", "kidney_left"), present="add")


def test_replaced_structures_keep_their_files(program, tmp_path):
    folder = small_study_folder(tmp_path / "study")
    segment(folder, ("kidney_right",), present="replace")
    segment(folder, ("kidney_left",), present="replace")
    study = load_study(folder)
    assert study.structures.present() == ("kidney_left",)
    kept = sorted(path.name for path in (folder / "tp1").glob("structures*"))
    assert kept == ["structures.nii.gz", "structures_segmented.nii.gz", "structures_segmented_2.nii.gz"]
    assert sorted(path.name for path in folder.glob("study*.yaml")) == [
        "study.yaml", "study_before_segment.yaml", "study_before_segment_2.yaml"
    ]  # fmt: skip


def test_every_scan_can_have_them(program, tmp_path):
    folder = small_study_folder(tmp_path / "study", structures=False)
    segment(folder, ("kidney_left", "liver"), all_scans=True)
    study = load_study(folder)
    assert [scan.structures.present() for scan in study.timepoints] == [("kidney_left", "liver")] * 3


def test_parts_are_joined_and_glands_asked_for_apart(program, tmp_path):
    """Both lobes are one lung; glands are a task of their own, which knows no subset."""
    folder = small_study_folder(tmp_path / "study", structures=False)
    told = segment(folder, ("lung_left", "parotid_left", "submandibular_right"), fast=True, device="cpu")
    study = load_study(folder)
    assert study.structures.present() == ("lung_left", "parotid_left")
    assert "submandibular_right was not found" in told
    total, glands = program.read_text().splitlines()
    assert total.endswith("-ta total --roi_subset lung_upper_lobe_left lung_lower_lobe_left --fast -d cpu")
    assert glands.endswith("-ta head_glands_cavities -d cpu")
    upper, lower = (np.linalg.norm(_places() - centre, axis=-1) < 1.9 for centre in ([3, 7, 5], [5, 7, 5]))
    assert study.structures.mask("lung_left")[0].sum() == ((upper | lower) & sphere(60.0)).sum()


def _places() -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), -1)


def test_no_network_unless_asked_for(program, tmp_path, monkeypatch):
    """The program reaches no server, not even on this machine, before --download is given."""
    with counting_server() as (url, asked):
        monkeypatch.setenv("STAND_IN_URL", url)
        monkeypatch.setenv("NO_PROXY", "*")
        folder = small_study_folder(tmp_path / "study", structures=False)
        before = contents(folder)
        with pytest.raises(RunStopped, match=r"(?s)without network.*totalseg_download_weights -t total.*--download"):
            segment(folder)
        assert contents(folder) == before
        assert not asked
        segment(folder, download=True)
        assert asked == ["/weights"]


@contextmanager
def counting_server():
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/weights", asked
        finally:
            server.shutdown()
            thread.join()


def test_a_program_that_fails_leaves_the_study(program, tmp_path, monkeypatch):
    folder = small_study_folder(tmp_path / "study", structures=False)
    before = contents(folder)
    monkeypatch.setenv("STAND_IN_FAILS", "1")
    with pytest.raises(RunStopped, match="no weights here"):
        segment(folder)
    assert contents(folder) == before


def test_refusals_say_what_to_do(tmp_path, monkeypatch):
    folder = small_study_folder(tmp_path / "study", structures=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"not on the PATH.*Install it.*RTSTRUCT"):
        segment(folder)
    with pytest.raises(InputError, match=r"'livre'.*Known are kidney_left"):
        segment(folder, ("livre",))


def test_a_study_without_ct_is_refused(program, tmp_path):
    with pytest.raises(InputError, match="has no CT"):
        segment(small_study_folder(tmp_path / "study", structures=False, ct=False))


def test_nothing_found_changes_nothing(program, tmp_path):
    folder = small_study_folder(tmp_path / "study", structures=False)
    before = (folder / "study.yaml").read_text()
    with pytest.raises(InputError, match="found none of spleen"):
        segment(folder, ("spleen",))
    assert (folder / "study.yaml").read_text() == before


def test_label_maps_name_every_new_structure(program, tmp_path):
    folder = small_study_folder(tmp_path / "study", structures=False)
    segment(folder, tuple(name for name, organ in ORGANS.items() if organ.task == "total")[:6])
    manifest = yaml.safe_load((folder / "study.yaml").read_text())
    maps = [load_volume(folder / path, "label") for path in manifest["structures"]["labels"]]
    found = set().union(*(np.unique(layer.data).tolist() for layer in maps)) - {0}
    assert found == set(manifest["structures"]["names"])
