"""All ordered pairs of scans within a patient, few patients, from a network that was trained before."""

from pathlib import Path

from torch import nn

from finetune.config import SCRATCH, FinetuneSettings
from finetune.correction import run_correction
from finetune.start import load_start
from nufitdose.registration.network import NufitReg
from nufitdose.run import sha256
from nufitdose.training.low_rank import add_low_rank
from nufitdose.training.pairs import IntraPatientOrder, Order, PairKey, validation_keys
from nufitdose.training.request import RunRequest
from nufitdose.training.stage import Stage, Studies, run_stage

ENCODERS = ("encoders", "stitches")


def run_finetune(request: RunRequest) -> Path:
    """Fine-tune in the folder `request.out` as its settings say; returns the weights of the best checkpoint.

    With `learns: correction` what learns is the correction of optimised fields. Raises `InputError` on bad settings,
    data or starting weights, `RunStopped` when the loss stays not finite.
    """
    if request.read_content().get("learns") == "correction":
        return run_correction(request)
    return run_stage(stage_of(request.read_settings(FinetuneSettings)), request)


def stage_of(settings: FinetuneSettings) -> Stage:
    """Intra-patient pairs to train and to validate on, from the weights that `start` names."""
    if settings.start == SCRATCH:
        network, weights, depends_on = settings.network, None, {}
    else:
        model, file = load_start(Path(settings.start))
        network, weights = model.settings, model.state_dict()
        depends_on = {"start_sha256": sha256(file)}
    others = {name: getattr(settings, name) for name in ("working_spacing_mm", "ct_contrast", "passes")}
    network = network.model_copy(update={name: value for name, value in others.items() if value is not None})

    def model_of() -> nn.Module:
        model = NufitReg(network)
        if weights is not None:
            model.load_state_dict(weights)
        freeze(model, settings.freeze)
        if settings.adapt == "low_rank":
            add_low_rank(model, settings.rank)
        return model

    return Stage(
        name="finetune",
        settings=settings,
        model=model_of,
        network=network,
        order=_order,
        validation=_validation,
        between_patients=False,
        depends_on=depends_on,
        choose=lambda cohort: cohort if settings.patient is None else cohort.select_patient(settings.patient),
    )


def freeze(model: nn.Module, what: str) -> None:
    """Keep the encoders (stitches included), or all but the heads, as they are; 'none' keeps nothing."""
    for name, parameter in model.named_parameters():
        part = name.split(".")[0]
        fixed = {"none": False, "encoders": part in ENCODERS, "all_but_heads": "head" not in part}[what]
        parameter.requires_grad_(not fixed)


def _order(studies: Studies, seed: int) -> Order:
    return IntraPatientOrder(studies, seed)


def _validation(studies: Studies, count: int, seed: int) -> list[PairKey]:
    if count == 0 or not studies:
        return []
    return validation_keys(IntraPatientOrder(studies, seed), count)
