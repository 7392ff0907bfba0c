"""Organs on a CT by TotalSegmentator, which the user has installed as a program of its own.

Only its command is called (doi:10.1148/ryai.230024); nothing of it is part of this program. It reads a NIfTI file and
writes one mask a class. Unless `download` allows it, it runs without network (addresses of a proxy that leads nowhere),
so that neither weights are fetched nor usage is reported without being asked for.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nufitdose.errors import InputError, RunStopped
from nufitdose.io.drawn_structures import DrawnStructure
from nufitdose.io.nifti import load_volume, save_volume
from nufitdose.types import Mask
from nufitdose.volume import Quantity, Volume

PROGRAM = "TotalSegmentator"
_NOWHERE = "http://127.0.0.1:9"  # the discard port: refused at once
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_LAST_LINES = 8  # of what the program said, in an error


@dataclass(frozen=True)
class Organ:
    """What of a task makes a structure: the classes of TotalSegmentator, joined."""

    task: str
    classes: tuple[str, ...]


def _total(*classes: str) -> Organ:
    return Organ("total", classes)


def _gland(name: str) -> Organ:
    return Organ("head_glands_cavities", (name,))


#: Structures by the names of this program; classes are those of TotalSegmentator 2 (tasks `total` and
#: `head_glands_cavities`).
ORGANS: Mapping[str, Organ] = {
    "kidney_left": _total("kidney_left"),
    "kidney_right": _total("kidney_right"),
    "liver": _total("liver"),
    "spleen": _total("spleen"),
    "pancreas": _total("pancreas"),
    "adrenal_left": _total("adrenal_gland_left"),
    "adrenal_right": _total("adrenal_gland_right"),
    "gallbladder": _total("gallbladder"),
    "stomach": _total("stomach"),
    "small_bowel": _total("small_bowel"),
    "duodenum": _total("duodenum"),
    "colon": _total("colon"),
    "urinary_bladder": _total("urinary_bladder"),
    "prostate": _total("prostate"),
    "thyroid": _total("thyroid_gland"),
    "heart": _total("heart"),
    "lung_left": _total("lung_upper_lobe_left", "lung_lower_lobe_left"),
    "lung_right": _total("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
    "brain": _total("brain"),
    "parotid_left": _gland("parotid_gland_left"),
    "parotid_right": _gland("parotid_gland_right"),
    "submandibular_left": _gland("submandibular_gland_left"),
    "submandibular_right": _gland("submandibular_gland_right"),
}
#: What is segmented where nothing is named: organs that limit radionuclide therapy or are sources in it.
USUAL = ("kidney_left", "kidney_right", "liver", "spleen")


def find_program() -> str:
    """The path of the command; `InputError` where it is not installed."""
    found = shutil.which(PROGRAM)
    if found is None:
        raise InputError(
            f"the command {PROGRAM} is not on the PATH; it is a program of its own, which nufitdose only calls",
            remedy=f"Install it in an environment of its own (pip install {PROGRAM}) and put its command on the PATH, "
            "or draw structures elsewhere and import them as RTSTRUCT, SEG or label map",
        )
    return found


def check_organs(names: Sequence[str]) -> None:
    """`InputError` on a name that is none of `ORGANS`."""
    unknown = [name for name in names if name not in ORGANS]
    if unknown:
        raise InputError(f"the structures {unknown} were asked for", remedy=f"Known are {', '.join(ORGANS)}")


def segment_ct(
    ct: Volume, names: Sequence[str], *, fast: bool, download: bool, device: str
) -> tuple[list[DrawnStructure], list[str]]:
    """The organs of these names on the grid of `ct`, those without a voxel left out; and what to know of them.

    Raises `InputError` where the program is absent or writes another grid, `RunStopped` where it fails.
    """
    program = find_program()
    found: list[DrawnStructure] = []
    remarks: list[str] = []
    with tempfile.TemporaryDirectory(prefix="nufitdose-segment-") as name:
        folder = Path(name)
        save_volume(ct, folder / "ct.nii.gz")
        for task in dict.fromkeys(ORGANS[organ].task for organ in names):
            wanted = [organ for organ in names if ORGANS[organ].task == task]
            _run(program, folder, task, wanted, fast=fast and task == "total", download=download, device=device)
            for organ in wanted:
                mask = _joined(folder / task, ORGANS[organ].classes, ct)
                if mask is None or not mask.any():
                    remarks.append(f"{organ} was not found on the CT")
                    continue
                found.append(_cropped(organ, mask))
                if mask[..., 0].any() or mask[..., -1].any():
                    remarks.append(f"{organ} reaches the first or last slice of the CT: part of it may be missing")
    return found, remarks


def _run(
    program: str, folder: Path, task: str, names: Sequence[str], *, fast: bool, download: bool, device: str
) -> None:
    command = [program, "-i", str(folder / "ct.nii.gz"), "-o", str(folder / task), "-ta", task]
    if task == "total":  # the subset is known to this task alone
        command += ["--roi_subset", *(each for name in names for each in ORGANS[name].classes)]
    command += ["--fast"] if fast else []
    command += {"auto": [], "cpu": ["-d", "cpu"], "cuda": ["-d", "gpu"]}[device]
    told = folder / "told.txt"
    with told.open("wb") as file:  # a pipe would be held open by processes it leaves behind
        code = subprocess.run(
            command, env=_environment(download), stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False
        ).returncode
    if code:
        lines = told.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        way_out = (
            f"It ran without network. If weights are missing: 'totalseg_download_weights -t {task}' fetches them, or "
            "let it do so by --download."
        )
        raise RunStopped(
            "\n".join([f"{PROGRAM} ended with {code}; it last said:", *lines, *([] if download else [way_out])])
        )


def _environment(download: bool) -> dict[str, str]:
    if download:
        return dict(os.environ)
    kept = {key: value for key, value in os.environ.items() if key.lower() not in {*_PROXIES, "no_proxy"}}
    return kept | dict.fromkeys((*_PROXIES, *(name.upper() for name in _PROXIES)), _NOWHERE)


def _joined(folder: Path, classes: Sequence[str], ct: Volume) -> Mask | None:
    """The voxels of any of the classes; None where the program wrote none of them."""
    mask: Mask | None = None
    for name in classes:
        path = folder / f"{name}.nii.gz"
        if not path.is_file():
            continue
        volume = load_volume(path, Quantity.LABELS)
        if not volume.grid.matches(ct.grid):
            raise InputError(
                f"{PROGRAM} wrote {name} on a grid that is not that of the CT", remedy="Report its version"
            )
        mask = volume.data > 0 if mask is None else mask | (volume.data > 0)
    return mask


def _cropped(name: str, mask: Mask) -> DrawnStructure:
    box = tuple(
        slice(int(found[0]), int(found[-1]) + 1)
        for found in (np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
    )
    i, j, k = box
    return DrawnStructure(name, mask[i, j, k], (i, j, k))
