"""How a cohort stands: a JSON line a second in a file, a line for every patient that ended elsewhere."""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

from dosimetry.cohort.values import MemberResult, Status
from nufitdose.jobs import Running
from nufitdose.printable import one_line
from nufitdose.progress import Stream

PROGRESS = "progress.jsonl"
_LONGEST = 120


class Watcher:
    """Counts patients and tells: into `folder`/progress.jsonl, and on `stream` where no bar is shown there."""

    def __init__(self, folder: Path, patients: int, stream: Stream | None) -> None:
        self.counts = dict.fromkeys(Status, 0)
        self._patients = patients
        self._stream = None if stream is None or stream.isatty() else stream
        self._file = (folder / PROGRESS).open("w", encoding="utf-8")
        self._start_s = time.monotonic()

    def __enter__(self) -> "Watcher":
        self.watch(())
        return self

    def __exit__(self, *_: object) -> None:
        self.watch(())
        self._file.close()

    @property
    def share(self) -> float:
        """The share of the patients that have ended."""
        return sum(self.counts.values()) / max(1, self._patients)

    def watch(self, running: Sequence[Running]) -> None:
        """Write how it stands now."""
        ended = sum(self.counts.values())
        line = {
            "seconds": round(time.monotonic() - self._start_s, 1),
            "patients": self._patients,
            **{status.value: count for status, count in self.counts.items()},
            "waiting": self._patients - ended - len(running),
            "running": [
                {
                    "study": one.key,
                    "seconds": round(one.seconds, 1),
                    "memory_mb": round(one.memory_mb) if math.isfinite(one.memory_mb) else None,
                    "doing": one_line(one.line, most=_LONGEST),
                }
                for one in running
            ],
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def ended(self, member: MemberResult) -> None:
        """Count a patient, and say what became of it."""
        self.counts[member.status] += 1
        if self._stream is not None:
            light, because = member.light
            said = f"failed, {member.fault.text}" if member.fault else f"{member.status.value}, {light} ({because})"
            count = f"{sum(self.counts.values())}/{self._patients}"
            print(one_line(f"{count} {member.study}: {said}", most=2 * _LONGEST), file=self._stream, flush=True)
