"""Whether a results folder is what a run would write now: same inputs, settings, weights, seed, device and version."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nufitdose.io.study_folder import manifest_path, study_files
from nufitdose.run import RECORD, sha256
from nufitdose.version import __version__


@dataclass(frozen=True)
class Wanted:
    """What a patient run depends on beside the study: `config` as run.json has it, the digest of the weights
    (None: the engine has none), seed, device and version of the program.
    """

    config: Mapping[str, Any]
    weights_sha256: str | None
    seed: int = 0
    device: str = "auto"
    version: str = __version__


def is_finished(study: Path, results: Path, wanted: Wanted) -> bool:
    """Whether `results` holds the whole result of a study folder as it is now."""
    found = read_record(results)
    if found is None or found.get("command") != "dosimetry" or "finished" not in found:
        return False
    same = (
        found.get("config") == wanted.config
        and found.get("weights_sha256") in (wanted.weights_sha256, None)  # None: one scan, nothing was registered
        and found.get("seed") == wanted.seed
        and found.get("device") == wanted.device
        and found.get("versions", {}).get("nufitdose") == wanted.version
        and all((results / name).is_file() for name in found.get("files", ()))
    )
    return bool(same) and _inputs(found) == _digests(study)


def read_record(results: Path) -> dict[str, Any] | None:
    """run.json of a results folder; None where there is none that can be read."""
    try:
        content = json.loads((results / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _inputs(found: Mapping[str, Any]) -> dict[str, str]:
    return {str(entry.get("path")): str(entry.get("sha256")) for entry in found.get("inputs", ())}


def _digests(study: Path) -> dict[str, str]:
    manifest = manifest_path(study)
    files = study_files(manifest)
    return {Path(os.path.relpath(path, manifest.parent)).as_posix(): sha256(path) for path in files}
