"""Scans as the network sees them, prepared once: on disk in half precision, in memory within a budget."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float16
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nufitdose.errors import InputError
from nufitdose.files import whole_file
from nufitdose.grid import Grid
from nufitdose.registration.intensity import scaled_ct
from nufitdose.registration.pair import PairTensors, pair_of
from nufitdose.registration.reading import read_affine
from nufitdose.study import Structures, TimePoint
from nufitdose.training.labels import LabelMap, common_labels, tumours_of
from nufitdose.training.truth import TrueMotion, true_displacement
from nufitdose.types import Affine, Image32
from nufitdose.volume import Volume

BYTES_PER_GB = 1e9
_CHANNELS = ("ct", "activity", "body", "weight_ct")
_STRUCTURES = "structures"  # in the metadata of a file
_OUTSIDE = (0.0, 0.0, 0.0, 1.0)  # air, no activity, no body, the weight of soft tissue

Motion16 = Float16[Tensor, "6 half_i half_j half_k"]


@dataclass(frozen=True)
class ScanKey:
    """One scan of a cohort: its study's digest, its time point, its patient."""

    digest: str
    timepoint: str
    patient: str


@dataclass(frozen=True, eq=False)
class Scan:
    """A prepared scan on its own working grid: CT and activity from 0 to 1, body, CT-guided weight.

    `pose` leads from the common world of the scans that may be paired to this scan's world (4x4, mm, RAS+). `motion`
    is the true one of a digital patient (see `nufitdose.training.truth`), `labels` what is drawn on the scan; None
    where not known or not asked for.
    """

    channels: Float16[Tensor, "4 i j k"]
    present: tuple[bool, bool]
    grid: Grid
    pose: Affine
    motion: Motion16 | None = None
    labels: LabelMap | None = None

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        tensors = sum(t.numel() * t.element_size() for t in (self.channels, self.motion) if t is not None)
        return tensors + (0 if self.labels is None else self.labels.data.nbytes)


def prepare_scan(
    timepoint: TimePoint,
    pose: Affine,
    spacing_mm: float,
    motion: TrueMotion | None = None,
    structures: Structures | None = None,
    see_ct: Callable[[Volume], Image32] = scaled_ct,
) -> Scan:
    """A scan on a working grid of `spacing_mm` around it: the fixed half of its pair with itself."""
    pair = pair_of(timepoint, timepoint, spacing_mm, torch.device("cpu"), np.eye(4), see_ct=see_ct)
    tensors = pair.tensors
    channels = torch.cat([getattr(tensors, name)[0, 1:2] for name in _CHANNELS])
    ct, activity = (bool(there) for there in tensors.present[0])
    known = None if motion is None else motion.on(pair.grid).to(torch.float16)
    labels = None if structures is None else LabelMap.of(structures, pair.grid)
    pose = np.asarray(pose, dtype=np.float64)
    return Scan(channels.to(torch.float16), (ct, activity), pair.grid, pose, known, labels)


def start_of(fixed: Scan, moving: Scan) -> Affine:
    """`pose_m pose_f⁻¹`, 4x4 from fixed to moving world (mm)."""
    return moving.pose @ np.linalg.inv(fixed.pose)


def pair_scans(fixed: Scan, moving: Scan, extra: Affine | None = None, *, same_patient: bool = False) -> PairTensors:
    """The pair of two prepared scans on the fixed grid, moving read once more, linearly, through their poses.

    The start is `start_of(fixed, moving) extra`; `extra` is a small motion added in training. The true motion is
    told of scans of the same patient where it is known of both, structures where they are drawn on both.
    """
    start = start_of(fixed, moving) @ (np.eye(4) if extra is None else extra)
    own = fixed.channels.float()
    to_index = moving.grid.inverse_affine @ start @ fixed.grid.affine
    brought = torch.from_numpy(read_affine(moving.channels.float().numpy(), to_index, fixed.grid.shape, _OUTSIDE))
    both = torch.stack([brought, own], dim=1)[:, None]  # channel 0 moving, 1 fixed
    ct, activity, body, weight = both
    truth = None
    if same_patient and fixed.motion is not None and moving.motion is not None:
        truth = true_displacement(fixed.motion, fixed.grid, moving.motion, moving.grid, start)
    labels = tumours = None
    if fixed.labels is not None and moving.labels is not None:
        drawn = moving.labels.on(moving.grid, fixed.grid, start)
        labels = common_labels(fixed.labels, drawn, same_patient=same_patient)
        tumours = tumours_of(fixed.labels, drawn)
    has_ct, has_activity = (f and m for f, m in zip(fixed.present, moving.present, strict=True))
    return PairTensors(
        ct=ct * has_ct,
        activity=activity * has_activity,
        present=torch.tensor([[has_ct, has_activity]]),
        body=(body > 0.5).float(),
        weight_ct=weight if has_ct else torch.ones_like(weight),
        spacing_mm=fixed.grid.spacing_mm,
        labels=labels,
        tumours=tumours,
        motion=truth,
    )


class ScanStore:
    """Prepared scans of a run: each made once, kept in a folder, held in memory up to a number of bytes.

    What a scan reads like does not depend on whether it was in memory. Safe to use from several threads.
    """

    def __init__(self, folder: Path, *, memory_bytes: float) -> None:
        self._folder = folder
        self._budget = memory_bytes
        self._held: OrderedDict[ScanKey, Scan] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """What is in memory now; never more than the budget."""
        return self._bytes

    def __contains__(self, key: ScanKey) -> bool:
        return self._path(key).is_file()

    def put(self, key: ScanKey, scan: Scan) -> None:
        """Write a scan, whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        content = {
            "channels": scan.channels.contiguous(),
            "present": torch.tensor(scan.present),
            "grid": torch.from_numpy(np.array(scan.grid.affine)),
            "pose": torch.from_numpy(scan.pose),
        }
        if scan.motion is not None:
            content["motion"] = scan.motion.contiguous()
        drawn = {}
        if scan.labels is not None:
            content["labels"] = torch.from_numpy(scan.labels.data)
            drawn = {_STRUCTURES: scan.labels.describe()}
        with whole_file(self._path(key)) as aside:
            save_file(content, aside, drawn)

    def get(self, key: ScanKey) -> Scan:
        """A scan, from memory or from disk. Raises `InputError` where the file is broken."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        scan = self._load(self._path(key))
        with self._lock:
            if key not in self._held and scan.bytes <= self._budget:
                self._held[key] = scan
                self._bytes += scan.bytes
                while self._bytes > self._budget:
                    _, oldest = self._held.popitem(last=False)
                    self._bytes -= oldest.bytes
        return scan

    def _path(self, key: ScanKey) -> Path:
        return self._folder / f"{key.digest[:16]}_{key.timepoint}.safetensors"

    def _load(self, path: Path) -> Scan:
        try:
            with safe_open(path, framework="pt") as file:
                content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                drawn = (file.metadata() or {}).get(_STRUCTURES)
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"the prepared scan cannot be read ({error})", where=path, remedy="Remove the file and use --resume"
            ) from error
        shape = tuple(content["channels"].shape[1:])
        ct, activity = (bool(there) for there in content["present"])
        grid = Grid(shape, content["grid"].numpy())
        labels = None if drawn is None else LabelMap.read(content["labels"], drawn)
        pose = content["pose"].numpy()
        return Scan(content["channels"], (ct, activity), grid, pose, content.get("motion"), labels)
