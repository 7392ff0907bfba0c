"""Learning to correct what the optimiser finds, on digital patients whose motion is known."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from finetune.config import CorrectionSettings
from finetune.start import load_start
from nufitdose.cohort import Cohort
from nufitdose.errors import InputError
from nufitdose.progress import OnProgress, Steps, tell_warnings
from nufitdose.registration.engines.deformable import NufitSettings
from nufitdose.registration.network import NufitReg
from nufitdose.registration.network.correction import FieldCorrection
from nufitdose.run import RunRecord, collected_warnings, sha256
from nufitdose.training.correction_examples import Preparation, StoredExample
from nufitdose.training.correction_task import Crops, loss_of, validation_of
from nufitdose.training.distributed import Processes, keep_threads, processes
from nufitdose.training.loop import train
from nufitdose.training.preparation import read_cohort
from nufitdose.training.request import RunRequest
from nufitdose.training.run_state import Progress, Run
from nufitdose.training.stage import WEIGHTS, finish, held, identity, note_studies, shown_steps


def run_correction(request: RunRequest) -> Path:
    """Train in the folder `request.out` as its settings say; returns weights of the start with the correction.

    The folder is that of a stage, without pictures. Raises `InputError` on bad settings, data without truth, or
    starting weights; `RunStopped` when the loss stays not finite.
    """
    settings = request.read_settings(CorrectionSettings)
    start, file = load_start(Path(settings.start))
    record = RunRecord("finetune", settings.model_dump(mode="json"), seed=request.seed)
    with processes(request.device) as group, collected_warnings(record), held(request.out, group):
        record.device = str(group.device)
        record.notes = {"status": "running", "processes": group.count}
        if group.writes:
            request.require_free_or_resumed()
        group.wait()
        stream = request.stream if group.writes else None
        work = _Work(settings, request, record, group, start, sha256(file))
        with Steps(1.0, stream) as steps:
            with steps.step("reading the studies", 0.02):
                cohort = work.read_studies()
            with steps.step("optimising the pairs", 0.38) as on_progress:
                examples = work.prepare(cohort, on_progress)
            with steps.step("training", 0.6) as on_progress:
                progress = work.train(cohort, *examples, shown_steps(settings.loop.steps, stream, steps, on_progress))
        record.timings_s = dict(steps.seconds)
        if group.writes:
            width = start.settings.correction or settings.width
            finish(partial(_with_correction, start, width), request.out, record, progress)
            tell_warnings(record.warnings, stream)
        group.wait()
    return request.out / WEIGHTS


@dataclass(frozen=True, eq=False)
class _Work:
    """A run at work in its folder, in one of the processes."""

    settings: CorrectionSettings
    request: RunRequest
    record: RunRecord
    group: Processes
    start: NufitReg
    start_sha256: str

    def read_studies(self) -> Cohort:
        cohort = read_cohort(self.settings.data, seed=self.request.seed, least_scans=2)
        note_studies(self.record, cohort)
        if self.group.writes:
            self.request.begin(self.record)
        return cohort

    def prepare(self, cohort: Cohort, on_progress: OnProgress) -> tuple[list[StoredExample], list[StoredExample]]:
        """The examples of training and of validation, made by the process that writes."""
        settings, data = self.settings, self.settings.data
        place = self.request.out / "prepared" if data.prepared is None else Path(data.prepared)
        optimiser = NufitSettings(**settings.optimiser.model_dump())
        preparation = Preparation(place, self.start.eval(), self.start_sha256, optimiser)
        if not self.group.writes:
            self.group.wait()
        with keep_threads():
            taught = preparation.examples(cohort.train, data.broken, lambda share: on_progress(0.8 * share))
            judged = preparation.examples(cohort.validation, data.broken, lambda share: on_progress(0.8 + 0.2 * share))
        if self.group.writes:
            self.group.wait()
        return taught, judged

    def train(
        self,
        cohort: Cohort,
        taught: list[StoredExample],
        judged: list[StoredExample],
        on_progress: Callable[[int, float], None],
    ) -> Progress:
        settings, seed = self.settings, self.request.seed
        if not taught:
            raise InputError("no pair is left to learn from", remedy="Give digital patients with CTs")
        run = Run(
            folder=self.request.out,
            seed=seed,
            config=identity(settings, seed) | {"start_sha256": self.start_sha256},
            data={name: digest for name, digest in cohort.digests().items() if not name.startswith("test/")},
            processes=self.group,
            on_progress=on_progress,
        )
        torch.manual_seed(seed)
        model = deepcopy(self.start.correction) or FieldCorrection(settings.width)
        some = _some(judged, settings.data.validation_pairs)
        validate = validation_of(some, settings.smoothness_mm, settings.loop.precision, self.group.device)
        return train(
            model,
            loss_of(settings.smoothness_mm, settings.loop.precision),
            Crops(taught, settings.crops, seed=seed, workers=settings.data.workers),
            validate if some else None,
            settings.loop,
            run,
            resume=self.request.resume,
        )


def _some(examples: Sequence[StoredExample], most: int) -> list[StoredExample]:
    """Up to `most` of them, evenly drawn."""
    return list(examples[:: max(1, -(-len(examples) // max(most, 1)))][:most])


def _with_correction(start: NufitReg, width: int, learned: Mapping[str, Tensor]) -> NufitReg:
    """The network of the start, beside it the correction of such a width that was learned."""
    model = NufitReg(start.settings.model_copy(update={"correction": width}))
    kept = {name: value for name, value in start.state_dict().items() if not name.startswith("correction.")}
    model.load_state_dict(kept | {f"correction.{name}": value for name, value in learned.items()})
    return model
