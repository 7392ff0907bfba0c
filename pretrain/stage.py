"""Random pairs of scans of different patients, aligned by affine maps through one template patient."""

from pathlib import Path

from nufitdose.registration.network import NufitReg
from nufitdose.training.pairs import InterPatientOrder, IntraPatientOrder, Order, PairKey, validation_keys
from nufitdose.training.request import RunRequest
from nufitdose.training.stage import Stage, Studies, run_stage
from pretrain.config import PretrainSettings


def run_pretrain(request: RunRequest) -> Path:
    """Pre-train in the folder `request.out` as its settings say; returns the weights of the best checkpoint.

    Raises `InputError` on bad settings or data, `RunStopped` when the loss stays not finite.
    """
    return run_stage(stage_of(request.read_settings(PretrainSettings)), request)


def stage_of(settings: PretrainSettings) -> Stage:
    """Inter-patient pairs to train on; both inter- and intra-patient pairs to validate on."""
    return Stage(
        name="pretrain",
        settings=settings,
        model=lambda: NufitReg(settings.network),
        network=settings.network,
        order=_order,
        validation=_validation,
        between_patients=True,
        depends_on={},
    )


def _order(studies: Studies, seed: int) -> Order:
    return InterPatientOrder([key for scans in studies for key in scans], seed)


def _validation(studies: Studies, count: int, seed: int) -> list[PairKey]:
    """Half of the pairs between patients, half within: serial scans are what the network is for."""
    found: list[PairKey] = []
    if len({scans[0].patient for scans in studies}) > 1:
        found += validation_keys(_order(studies, seed), count // 2)
    if any(len(scans) > 1 for scans in studies):
        found += validation_keys(IntraPatientOrder(studies, seed), count - len(found))
    return found
