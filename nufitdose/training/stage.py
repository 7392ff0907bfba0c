"""One training stage from its settings to weights on disk; what the stages share."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import nn

from nufitdose.config import Settings
from nufitdose.errors import InputError
from nufitdose.io.landmarks import Landmarks, read_landmarks
from nufitdose.progress import Steps, Stream
from nufitdose.registration.engines.linear import affine_pose, basis_of, rigid_pose
from nufitdose.registration.network import NetworkSettings, NufitReg, save_weights
from nufitdose.registration.objective import ObjectiveSettings
from nufitdose.run import RECORD, RunRecord, collected_warnings, sha256, write_record
from nufitdose.study import TimePoint
from nufitdose.training.checkpoint import AVERAGE, MODEL, best_checkpoint, load_weights, read_card
from nufitdose.training.cohort import Cohort, Member, load_cohort
from nufitdose.training.distributed import Processes, processes, threads_kept
from nufitdose.training.loop import Progress, Run, train
from nufitdose.training.low_rank import merged
from nufitdose.training.pairs import Order, PairKey, TrainingPairs
from nufitdose.training.pictures import FOLDER as PICTURES
from nufitdose.training.pictures import draw_pair
from nufitdose.training.records import tensorboard_writer
from nufitdose.training.scans import BYTES_PER_GB, ScanKey, ScanStore, keys_of, prepare_all
from nufitdose.training.settings import AugmentationSettings, DataSettings, DropoutSettings, LoopSettings
from nufitdose.training.task import pair_loss_of, validation_of
from nufitdose.types import Affine

WEIGHTS = "weights.safetensors"
_TOLD_EVERY_S = 20.0
#: What may change without another run coming of it.
_FREE_TO_CHANGE = {"data": ("cohort", "memory_gb", "prepared", "workers"), "loop": ("tensorboard",)}

Studies = Sequence[Sequence[ScanKey]]


class StageSettings(Settings):
    """What every stage can be told; `blur_voxels` smooths what the objective compares (see `pair_loss_of`)."""

    data: DataSettings
    network: NetworkSettings = NetworkSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    blur_voxels: float = Field(default=1.0, ge=0, le=5)
    augmentation: AugmentationSettings = AugmentationSettings()
    dropout: DropoutSettings = DropoutSettings()
    loop: LoopSettings = LoopSettings()


@dataclass(frozen=True, eq=False)
class Stage:
    """What makes a stage: the order of its training pairs, what it validates on, whether patients are paired.

    `order` and `validation` take the scans of each study. `depends_on` is what a resumed run must share besides
    settings and data.
    """

    name: str
    settings: StageSettings
    model: Callable[[], nn.Module]
    network: NetworkSettings
    order: Callable[[Studies, int], Order]
    validation: Callable[[Studies, int, int], list[PairKey]]
    between_patients: bool
    depends_on: Mapping[str, Any]
    choose: Callable[[Cohort], Cohort] = lambda cohort: cohort


def run_stage(
    stage: Stage, out: str | Path, *, resume: bool, device: str, seed: int, stream: Stream | None = None
) -> Path:
    """Train a stage in the folder `out`; returns the weights of its best checkpoint.

    `out` holds metrics.csv, validation.csv, pictures/, checkpoints/, run.json and, at the end, weights.safetensors
    with its card. Raises `InputError` when it holds a run already and `resume` is not asked for, and on broken data;
    `RunStopped` when the loss stays not finite.
    """
    folder = Path(out)
    if stage.settings.loop.tensorboard:
        tensorboard_writer()  # refused now, not once the scans are prepared
    record = RunRecord(stage.name, stage.settings.model_dump(mode="json"), seed=seed)
    with processes(device) as group, collected_warnings(record):
        record.device = str(group.device)
        record.notes = {"status": "running", "processes": group.count}
        if group.writes:
            require_free_or_resumed(folder, resume)
        group.wait()
        with Steps(1.0, stream if group.writes else None) as steps:
            weights = _run(stage, folder, record, group, steps, resume=resume, seed=seed, stream=stream)
    return weights


def _run(
    stage: Stage,
    folder: Path,
    record: RunRecord,
    group: Processes,
    steps: Steps,
    *,
    resume: bool,
    seed: int,
    stream: Stream | None,
) -> Path:
    settings = stage.settings
    with steps.step("reading the studies", 0.02):
        cohort = stage.choose(load_cohort(settings.data, seed=seed, least_scans=1 if stage.between_patients else 2))
        for member in cohort.members:
            record.inputs[member.folder.name] = member.digest
        record.notes["splits"] = {name: _patients(getattr(cohort, name)) for name in ("train", "validation", "test")}
        if group.writes:
            _begin(record, folder)
    with steps.step("preparing the scans", 0.08) as tell:
        store = _prepared(stage, folder, cohort, group, tell)
    train_scans, validation_scans = (_in_store(part, store) for part in (cohort.train, cohort.validation))
    pairs = TrainingPairs(
        stage.order(train_scans, seed), store, settings.augmentation, seed=seed, workers=settings.data.workers
    )
    torch.manual_seed(seed)
    model = stage.model()
    precision = settings.loop.precision
    judged_on = stage.validation(validation_scans, settings.data.validation_pairs, seed)
    validate = None

    def draw(step: int, model: nn.Module) -> None:
        draw_pair(model, judged_on[-1], store, folder / PICTURES / f"step_{step:08d}.png", precision=precision)

    if judged_on:
        landmarks = _landmarks(cohort.validation)
        validate = validation_of(
            judged_on,
            store,
            settings.objective,
            precision=precision,
            blur_voxels=settings.blur_voxels,
            landmarks=landmarks,
            device=group.device,
        )
    with steps.step("training", 0.9) as tell:
        run = Run(
            folder=folder,
            seed=seed,
            config=_identity(settings, seed) | dict(stage.depends_on),
            data={name: digest for name, digest in cohort.digests().items() if not name.startswith("test/")},
            processes=group,
            on_progress=_teller(settings.loop.steps, stream if group.writes else None, tell),
            on_validated=draw,
        )
        loss = pair_loss_of(settings.objective, settings.dropout, precision, settings.blur_voxels)
        progress = train(model, loss, pairs, validate, settings.loop, run, resume=resume)
    record.timings_s = dict(steps.seconds)
    if group.writes:
        _finish(stage, folder, record, progress)
    group.wait()
    return folder / WEIGHTS


def require_free_or_resumed(folder: Path, resume: bool) -> None:
    """Refuse a folder that holds something else, or a run that was not asked to be resumed."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / RECORD).is_file():
        raise InputError(
            f"the folder is not empty and holds no earlier run (no {RECORD})",
            where=folder,
            remedy="Choose a new folder; nothing was changed",
        )
    if not resume:
        raise InputError("a run is here already", where=folder, remedy="Add --resume, or choose a new folder")


def _begin(record: RunRecord, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_record(record, folder)
    except OSError as error:
        raise InputError(
            f"the output folder cannot be made ({error.strerror})",
            where=folder,
            remedy="Choose a folder you can write to",
        ) from error


def _prepared(stage: Stage, folder: Path, cohort: Cohort, group: Processes, tell: Callable[[float], None]) -> ScanStore:
    """The scans of training and validation, prepared by the process that writes."""
    settings, spacing_mm = stage.settings.data, stage.network.working_spacing_mm
    members = (*cohort.train, *cohort.validation)
    kind = f"{spacing_mm:g}mm_{f'onto_{members[0].digest[:12]}' if stage.between_patients else 'within_patients'}"
    with_structures = stage.settings.objective.needs_structures
    kind += "_with_structures" if with_structures else ""
    place = folder / "prepared" if settings.prepared is None else Path(settings.prepared)
    store = ScanStore(place / kind, memory_bytes=settings.memory_gb * BYTES_PER_GB / group.count)
    if group.writes:
        with threads_kept():
            prepare_all(
                members,
                store,
                spacing_mm=spacing_mm,
                broken=settings.broken,
                within=_rigid,
                between=_affine if stage.between_patients else None,
                with_structures=with_structures,
                on_progress=tell,
            )
    group.wait()
    return store


def _rigid(fixed: TimePoint, moving: TimePoint) -> Affine:
    return rigid_pose(fixed, moving, basis_of(fixed, moving)).matrix


def _affine(fixed: TimePoint, moving: TimePoint) -> Affine:
    return affine_pose(fixed, moving, basis_of(fixed, moving)).matrix


def _in_store(members: Sequence[Member], store: ScanStore) -> Studies:
    return [keys for keys in map(keys_of, members) if all(key in store for key in keys)]


def _patients(members: Sequence[Member]) -> list[str]:
    return sorted({member.patient for member in members})


def _landmarks(members: Sequence[Member]) -> dict[str, Landmarks]:
    found = {member.digest: read_landmarks(member.folder) for member in members}
    return {digest: landmarks for digest, landmarks in found.items() if landmarks is not None}


def _identity(settings: StageSettings, seed: int) -> dict[str, Any]:
    """The settings that make the run what it is, as JSON holds them."""
    content = json.loads(settings.model_dump_json())
    for part, names in _FREE_TO_CHANGE.items():
        for name in names:
            del content[part][name]
    return {**content, "seed": seed}


def _teller(steps: int, stream: Stream | None, tell: Callable[[float], None]) -> Callable[[int, float], None]:
    """Move the bar; where nobody watches a bar, a line every now and then."""
    told = time.monotonic()

    def on_progress(step: int, loss: float) -> None:
        nonlocal told
        tell(step / steps)
        if stream is not None and not stream.isatty() and time.monotonic() - told > _TOLD_EVERY_S:
            told = time.monotonic()
            print(f"step {step} of {steps}, loss {loss:.4f}", file=stream, flush=True)

    return on_progress


def _finish(stage: Stage, folder: Path, record: RunRecord, progress: Progress) -> None:
    """Write the weights of the best checkpoint, with their card, and the record of the run."""
    best = best_checkpoint(folder)
    assert best is not None
    card = read_card(best)
    model = NufitReg(stage.network)
    model.load_state_dict(merged(load_weights(best, AVERAGE if AVERAGE in card.files else MODEL)))
    description = {
        "stage": stage.name,
        "step": card.step,
        "validation_loss": card.score,
        "trained_on": record.notes["splits"]["train"],
        "settings": record.config,
        "versions": dict(card.versions),
    }
    save_weights(model, folder / WEIGHTS, description)
    record.notes |= {
        "status": "done",
        "steps": progress.step,
        "skipped_steps": progress.skipped,
        "best_checkpoint": best.relative_to(folder).as_posix(),
        "best_validation_loss": None if card.score is None else float(np.float64(card.score)),
        "weights_sha256": sha256(folder / WEIGHTS),
    }
    write_record(record, folder)
