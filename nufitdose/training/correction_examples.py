"""What the correction learns from: evidence and truth of optimised pairs of digital patients, made once, on disk."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Integer
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import pad

from nufitdose.cohort import Member
from nufitdose.errors import InputError
from nufitdose.files import whole_file
from nufitdose.io.cohort_folder import Broken, report_broken
from nufitdose.registration.engines.deformable import NufitSettings, find_with_network
from nufitdose.registration.engines.engine import Request
from nufitdose.registration.engines.refine import finest_level
from nufitdose.registration.network import NufitReg
from nufitdose.registration.optimiser.correlation import HalfImage
from nufitdose.registration.optimiser.evidence import evidence_of, pooled
from nufitdose.registration.optimiser.images import Level, activity_at_nodes
from nufitdose.registration.pair import Pair, resample
from nufitdose.study import TimePoint
from nufitdose.training.truth import TrueMotion, read_motion, true_displacement

_WEIGHTS = {"body": 0.3, "bone": 2.0, "organ": 2.0, "tumour": 6.0}  # of an error of the displacement
_LEAST_TUMOUR = 0.25  # of a node
_NAMES = ("evidence", "missing", "weight", "tumour", "active", "body")
Place = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Example:
    """A pair on the optimiser's lattice: `missing` is true less found displacement, mm along the lattice's axes.

    Errors there count `weight`; `tumour`, `active` and `body` are shares, of the fixed scan. A batch has an axis more.
    """

    evidence: Float[Tensor, "*batch evidence i j k"]
    missing: Float[Tensor, "*batch 3 i j k"]
    weight: Float[Tensor, "*batch 1 i j k"]
    tumour: Float[Tensor, "*batch 1 i j k"]
    active: Float[Tensor, "*batch 1 i j k"]
    body: Float[Tensor, "*batch 1 i j k"]

    @classmethod
    def joined(cls, examples: Sequence["Example"]) -> "Example":
        """A batch: one axis more, in front."""
        return cls(**{name: torch.stack([getattr(one, name) for one in examples]) for name in _NAMES})

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Example":
        """The same change of every tensor."""
        return Example(**{name: change(getattr(self, name)) for name in _NAMES})

    def padded(self, sides: Sequence[int]) -> "Example":
        """Zeros behind, up to so many nodes along each axis: no body, which no loss counts."""
        i, j, k = (max(side - n, 0) for side, n in zip(sides, self.body.shape[1:], strict=True))
        return self.mapped(lambda image: pad(image, (0, k, 0, j, 0, i)))

    def to(self, device: torch.device) -> "Example":
        """The same example on another device."""
        return self.mapped(lambda image: image.to(device))

    def save(self, path: Path) -> None:
        """In half precision, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as aside:
            save_file({name: getattr(self, name).half().contiguous() for name in _NAMES}, aside)


class StoredExample:
    """An example on disk, of which parts are read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as file:
            self.shape: tuple[int, ...] = tuple(file.get_slice("body").get_shape()[1:])

    @cached_property
    def tumours(self) -> Integer[np.ndarray, "node 3"]:
        """The nodes in tumours."""
        with self._open() as file:
            return np.argwhere(file.get_tensor("tumour")[0].numpy() > _LEAST_TUMOUR)

    def read(self, part: Place) -> Example:
        """A part of all arrays."""
        with self._open() as file:
            return Example(**{name: file.get_slice(name)[(slice(None), *part)].float() for name in _NAMES})

    def _open(self) -> safe_open:
        try:
            return safe_open(self._path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"the prepared pair cannot be read ({error})",
                where=self._path,
                remedy="Remove the file and use --resume",
            ) from error


@dataclass(frozen=True, eq=False)
class Preparation:
    """How examples are made, and the `folder` where they are kept, apart from those of other networks and settings.

    `sha256` is the digest of the weights of `network`.
    """

    folder: Path
    network: NufitReg
    sha256: str
    settings: NufitSettings

    def examples(
        self,
        members: Sequence[Member],
        broken: Broken,
        on_progress: Callable[[float], None] = lambda share: None,
    ) -> list[StoredExample]:
        """All ordered pairs of scans of every study; none is made twice.

        Raises `InputError` where a study's true motion is not known, or a scan has no CT, unless `broken` says to skip
        it.
        """
        found: list[StoredExample] = []
        faults: list[InputError] = []
        for number, member in enumerate(members):
            try:
                found += self._of(member)
            except InputError as error:
                faults.append(InputError(error.problem, where=error.where or member.folder, remedy=error.remedy))
            on_progress((number + 1) / len(members))
        report_broken(faults, broken)
        return found

    @cached_property
    def _key(self) -> str:
        return hashlib.sha256(f"{self.sha256} {self.settings.model_dump_json()}".encode()).hexdigest()

    def _of(self, member: Member) -> list[StoredExample]:
        start = self.folder / self._key[:16] / member.digest[:16]
        known = cache(partial(KnownScan.of, member))
        found = []
        for fixed, moving in permutations(member.study.timepoints, 2):
            path = Path(f"{start}_{fixed.id}_{moving.id}.safetensors")
            if not path.is_file():
                make_example(known(fixed), known(moving), self.settings, self.network).save(path)
            found.append(StoredExample(path))
        return found


@dataclass(frozen=True, eq=False)
class KnownScan:
    """A scan of a digital patient, held in memory as long as this is, and its true motion."""

    scan: TimePoint
    motion: TrueMotion

    @classmethod
    def of(cls, member: Member, scan: TimePoint) -> "KnownScan":
        """Raises `InputError` where the scan has no CT, or its motion is not known."""
        if scan.read_ct is None:
            raise InputError(f"{scan.id} has no CT; what is learned is to correct pairs with CT", where=member.folder)
        motion = read_motion(member.folder, scan.id)
        if motion is None:
            raise InputError(
                "the true motion of this patient is not known (no truth/)",
                where=member.folder,
                remedy="Train the correction on digital patients (nufitdose simulate cohort)",
            )
        return cls(scan.released(), motion)


def make_example(fixed: KnownScan, moving: KnownScan, settings: NufitSettings, network: NufitReg) -> Example:
    """What is known of a pair once `nufit` optimised it, and what was missed."""
    grid, cpu = fixed.scan.activity.grid, torch.device("cpu")
    request = Request(fixed.scan, moving.scan, grid, cpu, network=network, settings=settings)
    pair, found = find_with_network(request)
    level = finest_level(pair, settings, request.objective)
    voxel_mm = pair.grid.spacing_mm[0]
    from_f, from_m = (scan.motion.on(pair.grid) for scan in (fixed, moving))
    true = true_displacement(from_f, pair.grid, from_m, pair.grid, pair.start)[0]
    shares = _shares(fixed.scan, pair, level)
    weight = np.sum([_WEIGHTS[name] * share for name, share in shares.items()], axis=0)
    return Example(
        torch.from_numpy(evidence_of(level, settings.misfit, found.displacement)),
        voxel_mm * (true - torch.from_numpy(found.displacement)),
        *(
            torch.from_numpy(image[None])
            for image in (weight, shares["tumour"], activity_at_nodes(pair.tensors), shares["body"])
        ),
    )


def _shares(fixed: TimePoint, pair: Pair, level: Level) -> dict[str, HalfImage]:
    """The share of body, bone, organs and tumours in every node, as drawn on the fixed scan."""
    shares = {"body": pooled(level.fixed[-1]), "bone": level.bone}
    shares |= {role: np.zeros_like(shares["body"]) for role in ("organ", "tumour")}
    drawn = fixed.structures
    if drawn is None:
        return shares
    for layer in drawn.layers:
        labels = resample(layer, pair.grid, np.eye(4))
        for role in ("organ", "tumour"):
            chosen = [label for label, name in drawn.names.items() if drawn.role(name) == role]
            shares[role] += pooled(np.isin(labels, chosen).astype(np.float32))
    return shares
