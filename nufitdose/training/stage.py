"""One training stage from its settings to weights on disk; what the stages share."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nufitdose.cohort import SPLITS, Cohort, Member
from nufitdose.config import Settings
from nufitdose.io.truth import Landmarks, read_landmarks
from nufitdose.locks import locked
from nufitdose.progress import OnProgress, Steps, Stream, tell_warnings
from nufitdose.registration.intensity import CT_CONTRASTS
from nufitdose.registration.network import NetworkSettings, NufitReg, save_weights
from nufitdose.run import RunRecord, collected_warnings, sha256, write_record
from nufitdose.training.checkpoint import AVERAGE, MODEL, best_checkpoint, load_weights, read_card
from nufitdose.training.distributed import Processes, keep_threads, processes
from nufitdose.training.loop import Validate, train
from nufitdose.training.low_rank import merge_low_rank
from nufitdose.training.pairs import Order, PairKey, TrainingPairs
from nufitdose.training.pictures import FOLDER as PICTURES
from nufitdose.training.pictures import draw_pair
from nufitdose.training.preparation import align_affinely, align_rigidly, keys_of, prepare_all, read_cohort
from nufitdose.training.records import tensorboard_writer
from nufitdose.training.request import RunRequest
from nufitdose.training.run_state import Progress, Run
from nufitdose.training.scans import BYTES_PER_GB, ScanKey, ScanStore
from nufitdose.training.settings import StageSettings
from nufitdose.training.task import pair_loss_of, validation_of

WEIGHTS = "weights.safetensors"
_TOLD_EVERY_S = 20.0
#: What may change without another run coming of it.
_FREE_TO_CHANGE = {"data": ("cohort", "memory_gb", "prepared", "workers"), "loop": ("tensorboard",)}

Studies = Sequence[Sequence[ScanKey]]


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

    def network_of(self, learned: Mapping[str, Tensor]) -> NufitReg:
        """The network with what was learned, low-rank changes merged."""
        model = NufitReg(self.network)
        model.load_state_dict(merge_low_rank(learned))
        return model


def run_stage(stage: Stage, request: RunRequest) -> Path:
    """Train a stage in the folder `request.out`; returns the weights of its best checkpoint.

    The folder holds metrics.csv, validation.csv, pictures/, checkpoints/, run.json and, at the end,
    weights.safetensors with its card. Raises `InputError` when it holds a run already and `resume` is not asked for,
    and on broken data; `RunStopped` when the loss stays not finite.
    """
    if stage.settings.loop.tensorboard:
        tensorboard_writer()  # refused now, not once the scans are prepared
    record = RunRecord(stage.name, stage.settings.model_dump(mode="json"), seed=request.seed)
    with processes(request.device) as group, collected_warnings(record), held(request.out, group):
        record.device = str(group.device)
        record.notes = {"status": "running", "processes": group.count}
        if group.writes:
            request.require_free_or_resumed()
        group.wait()
        work = _Work(stage, request, record, group)
        with Steps(1.0, work.stream) as steps:
            with steps.step("reading the studies", 0.02):
                cohort = work.read_studies()
            with steps.step("preparing the scans", 0.08) as on_progress:
                store = work.prepare_store(cohort, on_progress)
            with steps.step("training", 0.9) as on_progress:
                shown = shown_steps(stage.settings.loop.steps, work.stream, steps, on_progress)
                progress = work.train(cohort, store, shown)
        record.timings_s = dict(steps.seconds)
        if group.writes:
            finish(stage.network_of, request.out, record, progress)
            tell_warnings(record.warnings, work.stream)
        group.wait()
    return request.out / WEIGHTS


def held(folder: Path, group: Processes) -> AbstractContextManager[None]:
    """The folder, held by the process that writes."""
    return locked(folder) if group.writes else nullcontext()


@dataclass(frozen=True, eq=False)
class _Work:
    """A stage at work in its folder, in one of the processes."""

    stage: Stage
    request: RunRequest
    record: RunRecord
    group: Processes

    @property
    def stream(self) -> Stream | None:
        """Where progress is shown; nowhere but by the process that writes."""
        return self.request.stream if self.group.writes else None

    def read_studies(self) -> Cohort:
        """The studies of the run, named in its record."""
        least = 1 if self.stage.between_patients else 2
        cohort = read_cohort(self.stage.settings.data, seed=self.request.seed, least_scans=least)
        cohort = self.stage.choose(cohort)
        note_studies(self.record, cohort)
        if self.group.writes:
            self.request.begin(self.record)
        return cohort

    def prepare_store(self, cohort: Cohort, on_progress: OnProgress) -> ScanStore:
        """The scans of training and validation, prepared by the process that writes."""
        settings, between_patients = self.stage.settings.data, self.stage.between_patients
        spacing_mm = self.stage.network.working_spacing_mm
        members = (*cohort.train, *cohort.validation)
        kind = f"{spacing_mm:g}mm_{f'onto_{members[0].digest[:12]}' if between_patients else 'within_patients'}"
        with_structures = self.stage.settings.objective.needs_structures
        contrast = self.stage.network.ct_contrast
        kind += "" if contrast == "window" else f"_{contrast}"
        kind += "_with_structures" if with_structures else ""
        place = self.request.out / "prepared" if settings.prepared is None else Path(settings.prepared)
        store = ScanStore(place / kind, memory_bytes=settings.memory_gb * BYTES_PER_GB / self.group.count)
        if self.group.writes:
            with keep_threads():
                prepare_all(
                    members,
                    store,
                    spacing_mm=spacing_mm,
                    broken=settings.broken,
                    within=align_rigidly,
                    between=align_affinely if between_patients else None,
                    see_ct=CT_CONTRASTS[contrast],
                    with_structures=with_structures,
                    on_progress=on_progress,
                )
        self.group.wait()
        return store

    def train(self, cohort: Cohort, store: ScanStore, on_progress: Callable[[int, float], None]) -> Progress:
        """Run the loop on the pairs of the training patients."""
        stage, settings, seed = self.stage, self.stage.settings, self.request.seed
        order = stage.order(_in_store(cohort.train, store), seed)
        pairs = TrainingPairs(order, store, settings.augmentation, seed=seed, workers=settings.data.workers)
        torch.manual_seed(seed)
        model = stage.model()
        judged_on = stage.validation(_in_store(cohort.validation, store), settings.data.validation_pairs, seed)
        precision, pictures = settings.loop.precision, self.request.out / PICTURES

        def draw(step: int, model: nn.Module) -> None:
            draw_pair(model, judged_on[-1], store, pictures / f"step_{step:08d}.png", precision=precision)

        run = Run(
            folder=self.request.out,
            seed=seed,
            config=identity(settings, seed)
            | {"network": stage.network.model_dump(mode="json")}
            | dict(stage.depends_on),
            data={name: digest for name, digest in cohort.digests().items() if not name.startswith("test/")},
            processes=self.group,
            on_progress=on_progress,
            on_validated=draw,
        )
        loss = pair_loss_of(settings.objective, settings.dropout, precision, settings.blur_voxels)
        validate = self._validation(judged_on, cohort.validation, store) if judged_on else None
        return train(model, loss, pairs, validate, settings.loop, run, resume=self.request.resume)

    def _validation(self, judged_on: Sequence[PairKey], members: Sequence[Member], store: ScanStore) -> Validate:
        settings = self.stage.settings
        return validation_of(
            judged_on,
            store,
            settings.objective,
            precision=settings.loop.precision,
            blur_voxels=settings.blur_voxels,
            landmarks=_landmarks(members),
            device=self.group.device,
        )


def _in_store(members: Sequence[Member], store: ScanStore) -> Studies:
    return [keys for keys in map(keys_of, members) if all(key in store for key in keys)]


def _patients(members: Sequence[Member]) -> list[str]:
    return sorted({member.patient for member in members})


def _landmarks(members: Sequence[Member]) -> dict[str, Landmarks]:
    found = {member.digest: read_landmarks(member.folder) for member in members}
    return {digest: landmarks for digest, landmarks in found.items() if landmarks is not None}


def identity(settings: Settings, seed: int) -> dict[str, Any]:
    """The settings that make the run what it is, as JSON holds them."""
    content = json.loads(settings.model_dump_json())
    for part, names in _FREE_TO_CHANGE.items():
        for name in names:
            del content[part][name]
    return {**content, "seed": seed}


def shown_steps(
    last: int, stream: Stream | None, steps: Steps, on_progress: OnProgress
) -> Callable[[int, float], None]:
    """Move the bar, the loss beside it; where nobody watches a bar, a line every now and then."""
    told = time.monotonic()

    def show(step: int, loss: float) -> None:
        nonlocal told
        steps.note(f"loss {loss:.4f}")
        on_progress(step / last)
        if stream is not None and not stream.isatty() and time.monotonic() - told > _TOLD_EVERY_S:
            told = time.monotonic()
            print(f"step {step} of {last}, loss {loss:.4f}", file=stream, flush=True)

    return show


def note_studies(record: RunRecord, cohort: Cohort) -> None:
    """Write in the record who is there, by digest, and on which side."""
    for member in cohort.members:
        record.inputs[member.folder.name] = member.digest
    record.notes["splits"] = {name: _patients(getattr(cohort, name)) for name in SPLITS}


def finish(
    network_of: Callable[[Mapping[str, Tensor]], NufitReg], folder: Path, record: RunRecord, progress: Progress
) -> None:
    """Write the weights of the best checkpoint, with their card, and the record of the run.

    `network_of` makes a network of what was learned.
    """
    best = best_checkpoint(folder)
    assert best is not None
    card = read_card(best)
    model = network_of(load_weights(best, AVERAGE if AVERAGE in card.files else MODEL))
    description = {
        "stage": record.command,
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
