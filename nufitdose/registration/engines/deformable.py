"""The engines that bend: a rigid pose, then a network, instance optimisation, or both."""

from typing import cast

import torch

from nufitdose.registration.diffeomorphism import upsampled
from nufitdose.registration.engines.engine import Engine, Need, Request
from nufitdose.registration.engines.linear import rigid_pose
from nufitdose.registration.engines.refine import RefineSettings, refine
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.network import NufitReg
from nufitdose.registration.objective import NetworkOutput, displacements
from nufitdose.registration.pair import WORKING_SPACING_MM, Pair, PairTensors, pair_of
from nufitdose.registration.tensors import VelocityTensor


def optimise(request: Request) -> DisplacementField:
    """Instance optimisation from the rigid pose."""
    pair = _align(request, WORKING_SPACING_MM)
    return _field(pair, _refined(pair.tensors, None, request, cast(RefineSettings, request.settings)), request)


def predict(request: Request) -> DisplacementField:
    """What the network makes of the pair, from the rigid pose."""
    network = _network(request)
    pair = _align(request, network.settings.working_spacing_mm)
    return _field(pair, _output(network, pair.tensors, request.device), request)


def predict_and_optimise(request: Request) -> DisplacementField:
    """Instance optimisation from the network's velocity; from nothing where the network gives a displacement."""
    network = _network(request)
    pair = _align(request, network.settings.working_spacing_mm)
    output = _output(network, pair.tensors, request.device)
    velocity = None if output.displacement else output.velocity
    settings = REFINE_SETTINGS if velocity is None else cast(RefineSettings, request.settings)
    return _field(pair, _refined(pair.tensors, velocity, request, settings), request)


def _network(request: Request) -> NufitReg:
    if request.network is None:
        raise ValueError("this engine was asked without a network")
    return request.network


def _align(request: Request, spacing_mm: float) -> Pair:
    """Both scans on one grid, the moving one through the rigid pose."""
    fixed, moving, device = request.fixed, request.moving, request.device
    start = rigid_pose(fixed, moving, request.basis, lambda share: request.on_progress(0.4 * share)).matrix
    pair = pair_of(fixed, moving, spacing_mm, device, start, with_tumours=request.objective.rigidity > 0)
    request.on_progress(0.5)
    return pair


def _output(network: NufitReg, pair: PairTensors, device: torch.device) -> NetworkOutput:
    with torch.no_grad():
        return cast(NetworkOutput, network.to(device)(pair.ct, pair.activity, pair.present))


def _refined(
    pair: PairTensors, velocity: VelocityTensor | None, request: Request, settings: RefineSettings | None
) -> NetworkOutput:
    found = refine(pair, velocity, settings, request.objective, lambda share: request.on_progress(0.5 + 0.5 * share))
    return NetworkOutput(found.velocity)


def _field(pair: Pair, output: NetworkOutput, request: Request) -> DisplacementField:
    with torch.no_grad():
        displacement = upsampled(displacements(output)[0])
    return pair.field(displacement, request.grid)


REFINE_SETTINGS = RefineSettings()
REFINE = Engine(
    "refine",
    optimise,
    "rigid registration of {bases}, then a diffeomorphism of all images optimised for the pair",
    REFINE_SETTINGS,
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
    "rigid registration of {bases}, then the diffeomorphism that a neural network gives for all images, optimised "
    "further for the pair",
    RefineSettings(steps=(20, 20, 8)),  # after a network less is left to do
    frozenset({Need.WEIGHTS}),
)
