"""Facts of the installation, of a results folder, of weights and of a study, as plain values for text or JSON."""

import contextlib
import csv
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nufitdose.decay_data import cache_file
from nufitdose.errors import InputError
from nufitdose.io.study_folder import MANIFEST, load_study, study_files
from nufitdose.json_file import read_json
from nufitdose.nuclides import half_life_h
from nufitdose.run import RECORD, sha256, versions
from nufitdose.study import Study

Facts = dict[str, Any]
_OF_RUN = (
    "command",
    "patient",
    "nuclide",
    "tracer",
    "started",
    "finished",
    "status",
    "device",
    "seed",
    "weights_sha256",
)
_OF_STRUCTURE = ("structure", "role", "volume_ml", "tia_mbq_h", "dose_mean_gy", "u_dose_mean_gy", "light")
_OF_STEP = ("step", "loss")  # of metrics.csv of a training
_OF_PAIR = ("timepoint", "engine", "light", "why")


def gather_facts(place: Path | None = None) -> Facts:
    """The facts of a study (`study.yaml` or its folder), a results folder, a weights file, or of the installation.

    Raises `InputError` where `place` is nothing of these.
    """
    if place is None:
        return installation_facts()
    if place.is_file() and place.suffix == ".safetensors":
        return weights_facts(place)
    if place.name == MANIFEST or (place / MANIFEST).is_file():
        return study_facts(place)
    if (place / RECORD).is_file():
        return results_facts(place)
    raise InputError(
        f"this is no study ({MANIFEST}), no results folder ({RECORD}) and no weights file (.safetensors)",
        where=place,
        remedy="Name one of these, or nothing for the installation",
    )


def installation_facts() -> Facts:
    """Versions, the device that 'auto' stands for, caches, and the weights that come with the program."""
    import torch

    from nufitdose.registration.network.weights import SHIPPED

    found = torch.cuda.is_available()
    return {
        "kind": "installation",
        "program": str(Path(__file__).parent),
        "versions": versions(),
        "device": {
            "auto": "cuda" if found else "cpu",
            "cuda": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "caches": {"decay_data": _text(cache_file()), "compiled_code": os.environ.get("NUMBA_CACHE_DIR")},
        "weights": weights_facts(SHIPPED) if SHIPPED.is_file() else None,
    }


def weights_facts(path: Path) -> Facts:
    """The card of a weights file, checked against it. Raises `InputError` where they do not belong together."""
    from nufitdose.registration.network import check_weights
    from nufitdose.registration.network.weights import read_card

    check_weights(path)
    card = read_card(path)
    first = ("sha256", "parameters", "network", "stage", "step", "validation_loss")
    told = {name: card[name] for name in first if name in card}
    trained_on = _list(card, "trained_on", path.with_suffix(".json"))
    rest = {name: value for name, value in card.items() if name not in (*first, "trained_on", "settings")}
    return {"kind": "weights", "file": str(path), **told, "trained_on_patients": len(trained_on), **rest}


def results_facts(folder: Path) -> Facts:
    """What run.json and the tables of a results folder say. Raises `InputError` on a run.json that is none."""
    place = folder / RECORD
    record = read_json(place, "this is no record of a run")
    timings = record.get("timings_s", {})
    if not isinstance(timings, dict) or not all(isinstance(step, int | float) for step in timings.values()):
        raise InputError("'timings_s' is no table of seconds", where=place)
    steps = _rows(folder / "metrics.csv", _OF_STEP)
    files = [name for name in _list(record, "files", place) if isinstance(name, str)]
    return {
        "kind": "results",
        "folder": str(folder),
        **{name: record[name] for name in _OF_RUN if record.get(name) is not None},
        "seconds": round(sum(timings.values()), 1),
        "versions": record.get("versions", {}),
        "inputs": len(_list(record, "inputs", place)),
        "files": len(files),
        "missing_files": [name for name in files if not _is_file(folder / name)],
        "registration": _rows(folder / "registration.csv", _OF_PAIR),
        "structures": _rows(folder / "metrics.csv", _OF_STRUCTURE),
        **({"last_step": steps[-1]} if steps else {}),
        "warnings": record.get("warnings", []),
        "config": record.get("config", {}),
    }


def study_facts(place: Path) -> Facts:
    """What a study holds; activities are read, for their totals. Raises `InputError` on one that is not right."""
    study = load_study(place)
    physical_h = half_life_h(study.nuclide)
    given = study.administration
    files = study_files(place)
    return {
        "kind": "study",
        "manifest": str(files[0]),
        "patient": study.patient,
        "nuclide": study.nuclide,
        "tracer": study.tracer,
        "half_life_h": physical_h,
        "administered_mbq": given.activity_mbq,
        "administered_at": given.time.isoformat() if given.time else None,
        "reference": study.reference_id,
        "timepoints": [_scan_facts(study, number, physical_h) for number in range(len(study.timepoints))],
        "structures": [
            {"structure": name, "role": drawn.role(name), "volume_ml": drawn.volume_ml(name)}
            for drawn in filter(None, [study.structures])
            for name in drawn.present()
        ],
        "scanner": study.scanner.name if study.scanner else None,
        "statements": list(study.statements),
        "files": {Path(os.path.relpath(path, files[0].parent)).as_posix(): sha256(path) for path in files},
    }


def _scan_facts(study: Study, number: int, physical_h: float) -> Facts:
    scan = study.timepoints[number].released()
    grid, total_mbq = scan.activity.grid, scan.activity.total_mbq()
    return {
        "id": scan.id,
        "time_h": scan.time_h,
        "shape": list(grid.shape),
        "spacing_mm": [round(float(side), 4) for side in grid.spacing_mm],
        "total_mbq": total_mbq,
        "percent_of_what_decay_leaves": 100.0 * total_mbq / study.administration.left_mbq(scan.time_h, physical_h),
        "ct": scan.read_ct is not None,
    }


def _rows(path: Path, columns: tuple[str, ...]) -> list[Facts]:
    """These columns of a table, as far as it has them; nothing where there is no table with the first of them."""
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if columns[0] not in (rows.fieldnames or ()):
                return []
            return [{name: _value(row[name] or "") for name in columns if name in row} for row in rows]
    except (ValueError, csv.Error) as error:
        raise InputError(f"this table cannot be read ({error})", where=path) from error


def _list(content: Facts, name: str, where: Path) -> list[Any]:
    """A list in a record; an empty one where it is absent."""
    value = content.get(name, [])
    if not isinstance(value, list):
        raise InputError(f"{name!r} is {str(value)[:80]!r}, a list is wanted", where=where)
    return value


def _is_file(path: Path) -> bool:
    with contextlib.suppress(OSError):  # a name too long for the system
        return path.is_file()
    return False


def _value(text: str) -> str | float | None:
    """A number where it is one; None where the cell is empty or not a finite number."""
    try:
        number = float(text)
    except ValueError:
        return text or None
    return number if math.isfinite(number) else None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def as_text(facts: Mapping[str, Any]) -> str:
    """Facts for a person: indented lines `name: value`."""
    import yaml

    return yaml.safe_dump(dict(facts), sort_keys=False, allow_unicode=True, width=110).rstrip()
