"""Shared fixtures: where the real data lie, and shape checks switched on for the whole run."""

import os
from pathlib import Path

import matplotlib
import pytest
import support.typecheck  # noqa: F401  (named below, imported by nobody else)
from hypothesis import settings
from jaxtyping import install_import_hook

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does
matplotlib.use("Agg")
install_import_hook(["nufitdose", "dosimetry", "pretrain", "finetune"], "support.typecheck.checked")
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("NUFITDOSE_DATA") or ROOT / "../shared/data")


@pytest.fixture(scope="session")
def real_data():
    """`real_data(name)` is the folder of a real data set; the test is skipped where it is absent."""

    def folder(name: str) -> Path:
        path = DATA / name
        if not path.is_dir():
            pytest.skip(f"real data set {name!r} not found in {DATA}: set NUFITDOSE_DATA to the folder that holds it")
        return path

    return folder
