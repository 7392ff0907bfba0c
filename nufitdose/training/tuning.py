"""Bayesian optimisation of settings: every trial is an ordinary training run in a process of its own.

The next values come from a tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011), a run worse than the
median of the earlier ones at the same step is stopped (optuna's TPESampler and MedianPruner). Trials are kept in an
SQLite file, so that a search goes on where it was stopped.
"""

import csv
import fcntl
import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nufitdose.config import read_yaml
from nufitdose.errors import InputError, RunStopped
from nufitdose.files import write_whole
from nufitdose.progress import Steps, tell_warnings
from nufitdose.run import RECORD, RunRecord, collected_warnings, sha256, write_record
from nufitdose.training.records import VALIDATION
from nufitdose.training.request import RunRequest
from nufitdose.training.search import Range, SearchSettings, Value, on_bounds, trial_config
from nufitdose.training.watched import Row, run_watched, stage_command

BEST, TRIALS, STORAGE = "best.yaml", "trials.csv", "trials.db"
_TRUTH, _LOSS = "tre_mm", "loss"
_TOLD = ("step", _LOSS, _TRUTH, "folding_percent")  # of validation.csv, in trials.csv
_MOST_FAILURES = 3  # in a row
_REFUSED = 2  # exit code of a stage that was given bad input
_log = logging.getLogger(__name__)


def run_tuning(request: RunRequest) -> Path:
    """Search in the folder `request.out` as its settings say; returns best.yaml, a configuration of the stage.

    Raises `InputError` on bad settings, on a folder that is not free, where optuna is not installed, and where a
    stage refuses its input; `RunStopped` when three runs in a row fail.
    """
    optuna = _import_optuna()
    path, folder, seed, device = request.config, request.out, request.seed, request.device
    settings = request.read_settings(SearchSettings)
    base_file = path.parent / settings.config
    base = read_yaml(base_file)
    request.require_free_or_resumed()
    record = RunRecord("tune", settings.model_dump(mode="json"), seed=seed, device=device)
    record.inputs = {path.name: sha256(path), base_file.name: sha256(base_file)}
    request.begin(record)
    with collected_warnings(record), _lock_folder(folder) as lock:
        study = _open_study(optuna, folder, settings, base, seed)
        run = _Search(optuna, study, settings, base, folder, ("--device", device, "--seed", str(seed)), lock)
        with Steps(float(settings.trials), request.stream) as steps:
            failures = 0
            while (done := run.count_finished()) < settings.trials:
                with steps.step(f"trial {done + 1} of {settings.trials}"):
                    failures = 0 if run.run_trial() else failures + 1
                run.write_table()
                if failures == _MOST_FAILURES:
                    raise RunStopped(f"{_MOST_FAILURES} runs in a row failed; the last says: {run.read_last_line()}")
        record.timings_s = steps.seconds
        run.write_best()
        record.notes = {"best_value": study.best_value, "best": dict(study.best_params)}
        write_record(record, folder)
    tell_warnings(record.warnings, request.stream)
    return folder / BEST


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            "the search needs the package optuna, which is not installed", remedy="pip install 'nufitdose[tune]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@contextmanager
def _lock_folder(folder: Path) -> Iterator[int]:
    """Hold the folder; a run that outlives its killed search holds it too (it inherits the file that is yielded)."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                "a search, or a run that it began, is still at work here",
                where=folder,
                remedy="Wait for it to end, or end it",
            ) from error
        yield file.fileno()


def _open_study(optuna: Any, folder: Path, settings: SearchSettings, base: Mapping[str, Any], seed: int) -> Any:
    """The study in the folder, new or gone on with; trials that were interrupted wait to be taken up again."""
    study = optuna.create_study(
        study_name="tune",
        storage=f"sqlite:///{(folder / STORAGE).resolve()}",
        direction="minimize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=settings.unpruned_trials),
        load_if_exists=True,
    )
    # A sampler that begins anew with the same seed would draw its first values again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    content = [settings.model_dump(mode="json", exclude={"trials", "unpruned_trials"}), base, seed]
    identity = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    if study.user_attrs.setdefault("identity", identity) != identity:
        raise InputError(
            "the search here has other settings or another seed, so it cannot go on",
            where=folder,
            remedy="Restore them, or choose a new folder",
        )
    study.set_user_attr("identity", identity)
    for trial in study.trials:
        if trial.state == optuna.trial.TrialState.RUNNING:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params, user_attrs={"folder": trial.user_attrs.get("folder", _name(trial))})
    return study


def _name(trial: Any) -> str:
    return f"trial_{trial.number:03d}"


@dataclass(frozen=True, eq=False)
class _Search:
    """A study and what its runs need; `lock` is the open file that holds the folder."""

    optuna: Any
    study: Any
    settings: SearchSettings
    base: Mapping[str, Any]
    folder: Path
    arguments: tuple[str, ...]
    lock: int

    def count_finished(self) -> int:
        """How many trials came to a value or were pruned."""
        states = self.optuna.trial.TrialState
        return sum(trial.state in (states.COMPLETE, states.PRUNED) for trial in self.study.trials)

    def run_trial(self) -> bool:
        """Ask for values, run the stage with them, tell the outcome; False where the run failed."""
        states, trial = self.optuna.trial.TrialState, self.study.ask()
        name = trial.user_attrs.get("folder", _name(trial))
        trial.set_user_attr("folder", name)
        chosen = {key: _suggest(trial, key, space) for key, space in self.settings.search.items()}
        rows: list[Row] = []
        code = self._run(name, chosen, lambda row: self._should_prune(trial, rows, row))
        if code == _REFUSED:
            self.study.tell(trial, state=states.FAIL)
            raise InputError(f"the stage refused trial {name}: {self.read_last_line(name)}", where=self.folder)
        if code is None:
            self.study.tell(trial, state=states.PRUNED)
            return True
        value = self._read_value(rows) if rows else math.nan
        if code != 0 or not math.isfinite(value):
            self.study.tell(trial, state=states.FAIL)
            _log.warning("%s failed (exit code %s): %s", name, code, self.read_last_line(name))
            return False
        self.study.tell(trial, value)
        return True

    def _run(self, name: str, chosen: Mapping[str, Value], on_row: Callable[[Row], bool]) -> int | None:
        """Run the stage; its exit code, None where `on_row` asked to stop it."""
        place, file = self.folder / name, self.folder / f"{name}.yaml"
        config = trial_config(self.base, self.settings.settings, chosen)
        if config.get("data", {}).get("prepared") is None:
            config = trial_config(config, {}, {"data.prepared": str(self.folder / "prepared")})
        file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        command = [*stage_command(self.settings.stage), str(file), "--out", str(place), *self.arguments]
        command += ["--resume"] if (place / RECORD).is_file() else []
        return run_watched(command, self._log_of(name), place / VALIDATION, self.lock, on_row)

    def _should_prune(self, trial: Any, rows: list[Row], row: Row) -> bool:
        """Take note of a validation; whether the trial is to be stopped."""
        rows.append(row)
        best = _find_least_loss(rows)
        trial.set_user_attr("validation", {key: best[key] for key in _TOLD if key in best})
        trial.report(self._read_value(rows), step=int(row["step"]))
        return bool(trial.should_prune())

    def _read_value(self, rows: Sequence[Row]) -> float:
        """What is minimised, at the validation whose weights a run keeps: that of the least loss."""
        row = _find_least_loss(rows)
        wanted = self.settings.minimise or (_TRUTH if _TRUTH in row else _LOSS)
        weighs = [key for key in self.settings.search if key.startswith(("objective.", "blur_voxels"))]
        if self.settings.minimise is None and wanted == _LOSS and weighs:
            raise InputError(
                f"{weighs[0]} changes what the loss is, so losses of trials cannot be compared, and no validation "
                f"patient has a known motion ({_TRUTH})",
                where=self.folder,
                remedy="Validate on digital patients, or name a column of validation.csv in 'minimise'",
            )
        if wanted not in row:
            raise InputError(
                f"validation.csv has no column {wanted!r}", where=self.folder, remedy=f"Known: {', '.join(row)}"
            )
        return row[wanted]

    def _log_of(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def read_last_line(self, name: str | None = None) -> str:
        """The last line that a run printed; that of the last run where none is named."""
        name = name or self.study.trials[-1].user_attrs["folder"]
        lines = self._log_of(name).read_text(encoding="utf-8").strip().splitlines()
        return lines[-1] if lines else "nothing"

    def write_table(self) -> None:
        """trials.csv: every trial, its values, and its best validation."""
        names = list(self.settings.search)
        with (self.folder / TRIALS).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["trial", "folder", "state", "value", *names, *_TOLD])
            for trial in self.study.trials:
                told = trial.user_attrs.get("validation", {})
                value = "" if trial.value is None else trial.value
                head = [trial.number, trial.user_attrs.get("folder", ""), trial.state.name, value]
                writer.writerow([*head, *(trial.params.get(n, "") for n in names), *(told.get(n, "") for n in _TOLD)])

    def write_best(self) -> None:
        """best.yaml: a configuration of the stage; says, and warns, where an optimum lies on a bound."""
        best = self.study.best_trial
        remarks = on_bounds(self.settings.search, best.params)
        for remark in remarks:
            _log.warning("%s", remark)
        head = [f"{self.settings.stage}: the best of {self.count_finished()} trials, {best.value:.6g}", *remarks]
        config = trial_config(self.base, self.settings.settings, best.params)
        text = "".join(f"# {line}\n" for line in head) + yaml.safe_dump(config, sort_keys=False)
        write_whole(self.folder / BEST, text)


def _suggest(trial: Any, key: str, space: Any) -> Value:
    if not isinstance(space, Range):
        return trial.suggest_categorical(key, list(space.choices))
    if space.scale == "int":
        return trial.suggest_int(key, int(space.low), int(space.high))
    return trial.suggest_float(key, space.low, space.high, log=space.scale == "log")


def _find_least_loss(rows: Sequence[Row]) -> Row:
    return min(rows, key=lambda row: row[_LOSS] if math.isfinite(row[_LOSS]) else math.inf)
