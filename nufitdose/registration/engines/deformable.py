"""The engines that bend: a rigid pose, then a network, instance optimisation, or both."""

import logging
from typing import cast

import torch
from pydantic import Field

from nufitdose.registration.diffeomorphism import to_world, upsampled
from nufitdose.registration.engines.engine import Engine, Need, Request
from nufitdose.registration.engines.linear import rigid_pose
from nufitdose.registration.engines.refine import (
    RefineSettings,
    field_mm,
    kernels_on,
    looks_like_one_patient,
    refine,
)
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.intensity import CT_CONTRASTS
from nufitdose.registration.network.correction import FieldCorrection
from nufitdose.registration.network.model import NufitReg
from nufitdose.registration.objective import NetworkOutput, ObjectiveSettings, displacements
from nufitdose.registration.optimiser.newton import Found
from nufitdose.registration.pair import Pair, pair_of
from nufitdose.types import Affine

_log = logging.getLogger(__name__)


class NufitSettings(RefineSettings):
    """Those of the optimisation, and of its start where there are CTs: `passes` looks on a grid of `network_mm`.

    Such looks take a third of the time of those that the network was trained for, and with CTs the optimisation finds
    the rest; activity alone does not tell it. With `correct`, what was found between CTs is corrected by what the
    network learned of such fields: under the settings alone that it was learned with, the defaults of `RefineSettings`
    and of the objective.
    """

    network_mm: float = Field(default=6.0, gt=0)
    passes: int = Field(default=2, ge=1, le=8)
    correct: bool = True


def optimise(request: Request) -> DisplacementField:
    """Instance optimisation from the rigid pose."""
    return _believed(request, *_refined(request, _pose(request), None, None))


def predict(request: Request) -> DisplacementField:
    """What the network makes of the pair, from the rigid pose."""
    settings = _network(request).settings
    pair, displacement = predict_after(request, _pose(request), settings.working_spacing_mm, settings.passes)
    return pair.field(displacement, request.grid)


def predict_and_optimise(request: Request) -> DisplacementField:
    """Instance optimisation from what the network gives."""
    return _believed(request, *find_with_network(request, _correction(request)))


def find_with_network(request: Request, correction: FieldCorrection | None = None) -> tuple[Pair, Found]:
    """What `nufit` finds for a pair; without `correction` what that is learned from."""
    pose = _pose(request)
    settings, network = cast(NufitSettings, request.settings), _network(request).settings
    look = (settings.network_mm, settings.passes)
    if request.basis != "CT":
        look = (network.working_spacing_mm, network.passes)
    _, start = predict_after(request, pose, *look)
    return _refined(request, pose, start, correction)


def _correction(request: Request) -> FieldCorrection | None:
    """What the network learned of optimised fields, where these are such."""
    settings, network = cast(NufitSettings, request.settings), _network(request)
    learned_with = all(getattr(settings, name) == value for name, value in RefineSettings())
    if not (settings.correct and learned_with and request.basis == "CT" and request.objective == ObjectiveSettings()):
        return None
    return network.correction


def _pose(request: Request) -> Affine:
    pose = rigid_pose(
        request.fixed, request.moving, request.basis, lambda share: request.on_progress(0.4 * share)
    ).matrix
    request.on_progress(0.4)
    return pose


def _network(request: Request) -> NufitReg:
    if request.network is None:
        raise ValueError("this engine was asked without a network")
    return request.network


def predict_after(request: Request, pose: Affine, spacing_mm: float, passes: int) -> tuple[Pair, DisplacementField]:
    """A working grid of `spacing_mm`, and the displacement (mm) after the pose that the network finds there."""
    network = _network(request).to(request.device)
    see_ct = CT_CONTRASTS[network.settings.ct_contrast]
    pair = pair_of(request.fixed, request.moving, spacing_mm, request.device, pose, see_ct=see_ct)
    with torch.no_grad():
        output = cast(NetworkOutput, network(pair.tensors.ct, pair.tensors.activity, pair.tensors.present, passes))
        displacement = upsampled(displacements(output)[0])
    request.on_progress(0.5)
    return pair, DisplacementField(to_world(displacement, pair.grid), pair.grid)


def _refined(
    request: Request, pose: Affine, start: DisplacementField | None, correction: FieldCorrection | None
) -> tuple[Pair, Found]:
    return refine(
        request.fixed,
        request.moving,
        pose,
        start,
        cast(RefineSettings, request.settings),
        request.objective,
        lambda share: request.on_progress(0.5 + 0.5 * share),
        kernels_on(request.device),
        correction,
    )


def _believed(request: Request, pair: Pair, found: Found) -> DisplacementField:
    """The field of a pair; that of the pose where the scans do not look like one patient's."""
    if not looks_like_one_patient(pair, found, request.objective):
        _log.warning(
            "%s and %s do not look like scans of one patient: their CTs stay unlike however they are bent, and the "
            "rigid registration is kept",
            request.fixed.id,
            request.moving.id,
        )
        return DisplacementField.from_affine(pair.start, request.grid)
    return pair.field(field_mm(found, pair), request.grid)


REFINE = Engine(
    "refine",
    optimise,
    "rigid registration of {bases}, then a displacement of all images optimised for the pair",
    RefineSettings(),
)
NETWORK = Engine(
    "network",
    predict,
    "rigid registration of {bases}, then the diffeomorphism that a neural network gives for all images",
    needs=frozenset({Need.WEIGHTS}),
)
NUFIT = Engine(
    "nufit",
    predict_and_optimise,
    "rigid registration of {bases}, then the displacement that a neural network gives for all images, optimised "
    "further for the pair and, between CTs, corrected by what the network has learned of such "
    "displacements",
    NufitSettings(),
    frozenset({Need.WEIGHTS}),
)
