"""What the correction learns from: evidence and truth of optimised pairs of digital patients, made once, on disk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import pad

from nufitdose.cohort import Member
from nufitdose.errors import InputError
from nufitdose.files import whole_file
from nufitdose.io.cohort_folder import Broken, report_broken
from nufitdose.registration.engines.linear import rigid_pose
from nufitdose.registration.engines.refine import RefineSettings, finest_level, refine
from nufitdose.registration.objective import ObjectiveSettings
from nufitdose.registration.optimiser.bones import bone_share
from nufitdose.registration.optimiser.correlation import HalfImage
from nufitdose.registration.optimiser.evidence import evidence_of, pooled
from nufitdose.registration.optimiser.images import activity_at_nodes
from nufitdose.registration.pair import Pair, resample
from nufitdose.study import TimePoint
from nufitdose.training.truth import TrueMotion, read_motion, true_displacement

_WEIGHTS = {"body": 0.3, "bone": 2.0, "organ": 2.0, "tumour": 6.0}  # of an error of the displacement
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


def prepare_examples(
    members: Sequence[Member],
    folder: Path,
    settings: RefineSettings,
    broken: Broken,
    on_progress: Callable[[float], None] = lambda share: None,
) -> dict[str, list[StoredExample]]:
    """All ordered pairs of scans of every study, by its digest; what is in `folder` is not made again.

    Raises `InputError` where a study's true motion is not known, or a scan has no CT, unless `broken` says to skip it.
    """
    found: dict[str, list[StoredExample]] = {}
    faults: list[InputError] = []
    for number, member in enumerate(members):
        try:
            found[member.digest] = [
                StoredExample(_prepared(member, folder, fixed, moving, settings))
                for fixed, moving in permutations(member.study.timepoints, 2)
            ]
        except InputError as error:
            faults.append(InputError(error.problem, where=error.where or member.folder, remedy=error.remedy))
        on_progress((number + 1) / len(members))
    report_broken(faults, broken)
    return found


def _prepared(member: Member, folder: Path, fixed: TimePoint, moving: TimePoint, settings: RefineSettings) -> Path:
    path = folder / f"{member.digest[:16]}_{fixed.id}_{moving.id}.safetensors"
    if not path.is_file():
        from_f, from_m = (_known_motion(member, scan) for scan in (fixed, moving))
        make_example(fixed.released(), moving.released(), from_f, from_m, settings).save(path)
    return path


def _known_motion(member: Member, scan: TimePoint) -> TrueMotion:
    if scan.read_ct is None:
        raise InputError(f"{scan.id} has no CT; what is learned is to correct pairs with CT", where=member.folder)
    motion = read_motion(member.folder, scan.id)
    if motion is None:
        raise InputError(
            "the true motion of this patient is not known (no truth/)",
            where=member.folder,
            remedy="Train the correction on digital patients (nufitdose simulate cohort)",
        )
    return motion


def make_example(
    fixed: TimePoint, moving: TimePoint, motion_f: TrueMotion, motion_m: TrueMotion, settings: RefineSettings
) -> Example:
    """What is known of a pair once it was optimised, and what the optimiser missed."""
    terms = ObjectiveSettings()
    pose = rigid_pose(fixed, moving, "CT").matrix
    pair, found = refine(fixed, moving, pose, None, settings, terms)
    level = finest_level(pair, settings, terms)
    voxel_mm = pair.grid.spacing_mm[0]
    true = true_displacement(motion_f.on(pair.grid), pair.grid, motion_m.on(pair.grid), pair.grid, pose)[0]
    shares = _shares(fixed, pair)
    weight = np.sum([_WEIGHTS[name] * share for name, share in shares.items()], axis=0)
    return Example(
        torch.from_numpy(evidence_of(level, settings.misfit, found.displacement)),
        voxel_mm * (true - torch.from_numpy(found.displacement)),
        *(
            torch.from_numpy(image[None])
            for image in (weight, shares["tumour"], activity_at_nodes(pair.tensors), shares["body"])
        ),
    )


def _shares(fixed: TimePoint, pair: Pair) -> dict[str, HalfImage]:
    """The share of body, bone, organs and tumours in every node, as drawn on the fixed scan."""
    tensors = pair.tensors
    ct, body = tensors.ct[0, 1].numpy(), tensors.body[0, 1].numpy()
    voxel_ml = float(np.prod(tensors.spacing_mm)) / 1000.0
    shares = {"body": pooled(body), "bone": bone_share(ct, body, voxel_ml)}
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
