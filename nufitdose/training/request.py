"""What a training command is asked: its settings, the folder it writes, where and from which seed it runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nufitdose.config import Settings, build, read_yaml, with_overrides
from nufitdose.errors import InputError
from nufitdose.files import sweep
from nufitdose.locks import holds_something
from nufitdose.progress import Stream
from nufitdose.run import RECORD, RunRecord, write_record

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, eq=False)
class RunRequest:
    """One run of `pretrain`, `finetune` or `tune` in the folder `out`, as the YAML file `config` says.

    `overrides` (`key=value`) are laid over the file; `resume` goes on from what is in `out`.
    """

    config: Path
    out: Path
    overrides: tuple[str, ...] = ()
    resume: bool = False
    device: str = "auto"
    seed: int = 0
    stream: Stream | None = None

    def read_settings(self, model: type[S]) -> S:
        """The settings of the file with the overrides on top. Raises `InputError` on every fault in them."""
        return read_settings(model, self.config, self.overrides)

    def read_content(self) -> dict[str, Any]:
        """What the file and the overrides say, unchecked. Raises `InputError` on a file that is no YAML."""
        return with_overrides(read_yaml(self.config), self.overrides)

    def require_free_or_resumed(self) -> None:
        """Refuse a folder that holds something else, or a run that was not asked to be resumed."""
        sweep(self.out / RECORD)
        if not holds_something(self.out):
            return
        if not (self.out / RECORD).is_file():
            raise InputError(
                f"the folder is not empty and holds no earlier run (no {RECORD})",
                where=self.out,
                remedy="Choose a new folder; nothing was changed",
            )
        if not self.resume:
            raise InputError("a run is here already", where=self.out, remedy="Add --resume, or choose a new folder")

    def begin(self, record: RunRecord) -> None:
        """Make the folder and write run.json for the first time."""
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            write_record(record, self.out)
        except OSError as error:
            raise InputError(
                f"the output folder cannot be made ({error.strerror})",
                where=self.out,
                remedy="Choose a folder you can write to",
            ) from error


def read_settings(model: type[S], path: Path, overrides: tuple[str, ...] = ()) -> S:
    """The settings of a YAML file with `key=value` overrides on top. Raises `InputError` on every fault in them."""
    return build(model, with_overrides(read_yaml(path), overrides), where=path)
