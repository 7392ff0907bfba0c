"""report/findings.json and report/findings.npz: what the page is built from beside tables, maps and pictures."""

import json
import zipfile
from pathlib import Path

import numpy as np

from dosimetry.findings.codec import Arrays, decode, encode
from dosimetry.findings.values import Findings
from nufitdose.errors import InputError

PLACE = "report"
_VALUES, _ARRAYS = "findings.json", "findings.npz"
_FORM = 1  # of these two files


def save_findings(findings: Findings, folder: Path) -> None:
    """Write the findings into the results folder."""
    arrays: Arrays = {}
    content = {"form": _FORM, "findings": encode(findings, arrays)}
    place = folder / PLACE
    place.mkdir(exist_ok=True)
    np.savez_compressed(place / _ARRAYS, allow_pickle=False, **arrays)
    (place / _VALUES).write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")


def load_findings(folder: Path) -> Findings:
    """The findings of a results folder. Raises `InputError` where there are none that this version can read."""
    place = folder / PLACE
    try:
        content = json.loads((place / _VALUES).read_text(encoding="utf-8"))
        if content.get("form") != _FORM:
            raise ValueError("of another form")
        with np.load(place / _ARRAYS, allow_pickle=False) as arrays:
            found = decode(content["findings"], arrays)
    except FileNotFoundError as error:
        raise InputError(
            f"there is no {PLACE}/{Path(str(error.filename)).name} here, from which the report is built",
            where=folder,
            remedy="Give the folder that 'nufitdose dosimetry --out' wrote; run it again where an older version did",
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{PLACE}/{_VALUES} cannot be read by this version: {error}",
            where=folder,
            remedy="Run 'nufitdose dosimetry' again with this version",
        ) from error
    if not isinstance(found, Findings):
        raise InputError(f"{PLACE}/{_VALUES} holds no findings of a run", where=folder, remedy="Run it again")
    return found
