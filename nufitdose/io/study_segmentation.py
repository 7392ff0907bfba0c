"""Organs of a study's CTs drawn by TotalSegmentator and written into the study folder; drawn structures stay.

Label maps get new files; study.yaml is replaced last, and what it said before is kept beside it. Files of structures
that were there are neither changed nor removed.
"""

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nufitdose.config import build, dump_yaml, read_yaml
from nufitdose.errors import InputError
from nufitdose.files import write_whole
from nufitdose.io.drawn_structures import DrawnStructure, layered
from nufitdose.io.nifti import save_volume
from nufitdose.io.study_folder import load_study, manifest_path
from nufitdose.io.study_folder.manifest import Manifest, StructuresEntry, read_manifest
from nufitdose.io.totalsegmentator import PROGRAM, check_organs, find_program, segment_ct
from nufitdose.locks import locked
from nufitdose.progress import Steps, Stream
from nufitdose.study import Study, TimePoint
from nufitdose.volume import Volume

Present = Literal["refuse", "add", "replace"]  # what happens where structures are there already
Drawn = dict[str, list[DrawnStructure]]  # of each scan


def segment_study(
    study: str | Path,
    names: Sequence[str],
    *,
    all_scans: bool = False,
    present: Present = "refuse",
    fast: bool = False,
    download: bool = False,
    device: str = "auto",
    stream: Stream | None = None,
) -> list[str]:
    """Draw organs on the CT of the reference scan, or of all scans that have one, into study.yaml; what was done.

    `present`: where the study has structures, `add` keeps them and adds those of other names, `replace` names the new
    ones alone. Raises `InputError` where there is no CT, where structures are there and neither was said, or where the
    program is absent or finds nothing.
    """
    path = manifest_path(study)
    check_organs(names)
    find_program()
    with locked(path.parent):
        loaded, there = load_study(path), read_manifest(path).structures
        _check(loaded, there, path, present)
        kept = there if present == "add" else None
        known = set(kept.names.values()) if kept else set()
        wanted = [name for name in dict.fromkeys(names) if name not in known]
        told = [f"{name} is drawn already and stays" for name in dict.fromkeys(names) if name in known]
        if not wanted:
            return [*told, "nothing is left to segment; study.yaml is as it was"]
        drawn: Drawn = {}
        scans = [scan for scan in loaded.timepoints if scan.id == loaded.reference_id or (all_scans and scan.read_ct)]
        with Steps(float(len(scans)), stream) as steps:
            for scan in scans:
                with steps.step(f"{PROGRAM} on the CT of {scan.id}"):
                    assert scan.ct is not None
                    drawn[scan.id], remarks = segment_ct(
                        scan.ct, wanted, fast=fast, download=download, device=device
                    )  # fmt: skip
                told += [f"{scan.id}: {remark}" for remark in remarks]
        if not drawn[loaded.reference_id]:
            raise InputError(
                f"{PROGRAM} found none of {', '.join(wanted)} on the CT of the reference scan; study.yaml is as it was",
                where=path,
                remedy="Look at the CT: its field of view, and whether it is in HU",
            )
        _enter(path, loaded, drawn, wanted, kept)
    found = ", ".join(region.name for region in drawn[loaded.reference_id])
    return [*told, f"structures: {found}; look at them before you use a dose", f"study: {path}"]


def _check(study: Study, there: StructuresEntry | None, path: Path, present: Present) -> None:
    if study.reference.read_ct is None:
        raise InputError(
            f"the reference scan {study.reference_id!r} has no CT, which {PROGRAM} needs",
            where=path,
            remedy="Draw the structures elsewhere and name their label map under 'structures:'",
        )
    if there is not None and present == "refuse":
        raise InputError(
            f"the study has structures already ({', '.join(there.names.values())}); they are not overwritten",
            where=path,
            remedy="Say --add to keep them and add organs of other names, or --replace to use the new ones alone (the "
            "files of the old ones stay)",
        )


def _enter(path: Path, study: Study, drawn: Drawn, wanted: Sequence[str], kept: StructuresEntry | None) -> None:
    """Write the label maps, then study.yaml; labels of new names lie behind those in use."""
    first = max([0, *kept.names]) + 1 if kept else 1
    labels = {name: first + number for number, name in enumerate(wanted)}
    new = {region.name for regions in drawn.values() for region in regions}
    scans = {scan.id: scan for scan in study.timepoints if drawn.get(scan.id)}
    content = read_yaml(path)
    for entry in content["timepoints"]:
        if kept is None:
            entry.pop("structures", None)
        scan = scans.get(str(entry["id"]))
        if scan is None:
            continue
        maps = _label_maps(scan, drawn[scan.id], labels)
        files = [_save(layer, path.parent, scan.id) for layer in maps]
        if scan.id != study.reference_id:
            entry["structures"] = [*_listed(entry.get("structures")), *files]
            continue
        entry.pop("structures", None)  # those of the reference stand under `structures:` of the study
        content["structures"] = {
            **((content.get("structures") or {}) if kept else {}),
            "labels": [*(kept.labels if kept else ()), *files],
            "names": {**(kept.names if kept else {}), **{labels[name]: name for name in wanted if name in new}},
        }
    said = f"{', '.join(name for name in wanted if name in new)}: drawn by {PROGRAM} on the CT of {', '.join(drawn)}"
    content["statements"] = [*(content.get("statements") or ()), said]
    build(Manifest, content, where=path)
    write_whole(_free(path.parent, "study_before_segment", ".yaml"), path.read_bytes())
    write_whole(path, dump_yaml(content))


def _label_maps(scan: TimePoint, regions: Sequence[DrawnStructure], labels: Mapping[str, int]) -> list[Volume]:
    """The regions as label maps with the labels of the study, on the grid of what is drawn on the scan already."""
    assert scan.ct is not None
    found = layered(regions, scan.ct.grid)
    of = np.zeros(len(regions) + 1, dtype=np.uint16)
    for number, name in found.names.items():
        of[number] = labels[name]
    grid = scan.structures.layers[0].grid if scan.structures else scan.ct.grid
    return [layer.with_data(of[layer.data]).resampled_to(grid) for layer in found.layers]


def _save(layer: Volume, folder: Path, scan: str) -> str:
    path = _free(folder, f"{scan}/structures_segmented", ".nii.gz")
    path.parent.mkdir(exist_ok=True)
    save_volume(layer, path)
    return path.relative_to(folder).as_posix()


def _free(folder: Path, name: str, ending: str) -> Path:
    """A file that is not there yet: the name, then the name with a number."""
    numbered = (folder / f"{name}{'' if number == 1 else f'_{number}'}{ending}" for number in count(1))
    return next(path for path in numbered if not path.exists())


def _listed(paths: Any) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths or ())
