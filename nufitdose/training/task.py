"""What the network is asked on a pair: the loss it is trained by, and the numbers it is validated by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace

import numpy as np
import torch
from jaxtyping import Bool
from torch import Generator, Tensor, nn

from nufitdose.io.truth import Landmarks
from nufitdose.registration.diffeomorphism import to_world, upsampled
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.objective import NetworkOutput, ObjectiveSettings, displacements, objective
from nufitdose.registration.pair import Pair, PairTensors
from nufitdose.registration.quality import target_registration_error_mm
from nufitdose.training.pairs import PairKey
from nufitdose.training.scans import ScanStore, pair_scans, start_of
from nufitdose.training.settings import DropoutSettings

PairLoss = Callable[[nn.Module, PairTensors, Generator], Mapping[str, Tensor]]


def pair_loss_of(
    objective_settings: ObjectiveSettings, dropout: DropoutSettings, precision: str, blur_voxels: float = 0.0
) -> PairLoss:
    """The loss of a pair: the network under the precision given, the objective always in single precision.

    The objective, and it alone, sees images smoothed (see `PairTensors.smoothed`).
    Terms are named as in `ObjectiveTerms`, the total 'loss'. A dropped modality is hidden from the network only.
    """

    def loss(model: nn.Module, pair: PairTensors, chance: Generator) -> Mapping[str, Tensor]:
        output = predict(model, pair, drop_modalities(pair.present, dropout, chance), precision)
        return _name_terms(output, pair.smoothed(blur_voxels), objective_settings)

    return loss


def predict(model: nn.Module, pair: PairTensors, present: Bool[Tensor, "batch 2"], precision: str) -> NetworkOutput:
    """What the network makes of a pair, in single precision."""
    with torch.autocast(pair.ct.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        output = model(pair.ct, pair.activity, present)
    weight = None if output.weight is None else output.weight.float()
    return replace(output, velocity=output.velocity.float(), weight=weight)


def drop_modalities(
    present: Bool[Tensor, "batch 2"], dropout: DropoutSettings, chance: Generator
) -> Bool[Tensor, "batch 2"]:
    """Which of CT and activity the network sees: of two, at most one is dropped."""
    kept = present.clone()
    for row in kept:
        drawn = float(torch.rand((), generator=chance))
        if bool(row.all()):
            row[0] = drawn >= dropout.ct
            row[1] = not dropout.ct <= drawn < dropout.ct + dropout.activity
    return kept


def validation_of(
    keys: Sequence[PairKey],
    store: ScanStore,
    objective_settings: ObjectiveSettings,
    *,
    precision: str,
    blur_voxels: float,
    landmarks: Mapping[str, Landmarks],
    device: torch.device,
) -> Callable[[nn.Module], Mapping[str, float]]:
    """Mean loss and terms over pairs without augmentation; `folding_percent`; `tre_mm` where landmarks are known.

    `tre_mm` is the mean over pairs of the mean error over landmarks that both scans see, `tre_start_mm` the same
    for the start (rigid or affine); `landmarks` are found by the digest of a study.
    """

    def validate(model: nn.Module) -> Mapping[str, float]:
        rows = []
        for fixed, moving in keys:
            scan_f, scan_m = store.get(fixed), store.get(moving)
            tensors = pair_scans(scan_f, scan_m, same_patient=fixed.digest == moving.digest).to(device)
            output = predict(model, tensors, tensors.present, precision)
            row = {
                name: float(value)
                for name, value in _name_terms(output, tensors.smoothed(blur_voxels), objective_settings).items()
            }
            pair = Pair(tensors, scan_f.grid, start_of(scan_f, scan_m))
            u = upsampled(displacements(output)[0])
            field = pair.field(DisplacementField(to_world(u, pair.grid), pair.grid), scan_f.grid)
            where = tensors.body[0, 1].cpu().numpy() > 0.5
            row["folding_percent"] = field.jacobian_statistics(where).folding_percent
            if fixed.digest == moving.digest and fixed.digest in landmarks:
                points = landmarks[fixed.digest].shared(fixed.timepoint, scan_f.grid, moving.timepoint, scan_m.grid)
                start = pair.field(DisplacementField.identity(pair.grid), scan_f.grid)
                row["tre_mm"] = float(target_registration_error_mm(field, *points).mean())
                row["tre_start_mm"] = float(target_registration_error_mm(start, *points).mean())
            rows.append(row)
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}

    return validate


def _name_terms(output: NetworkOutput, pair: PairTensors, settings: ObjectiveSettings) -> dict[str, Tensor]:
    terms = objective(output, pair, settings)
    named = {field.name: getattr(terms, field.name) for field in fields(terms)}
    return {"loss": named.pop("total"), **named}
