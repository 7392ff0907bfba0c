"""Memory of a process and of the machine, as Linux tells it; NaN where nothing tells."""

import math
from pathlib import Path

_NOT_KNOWN = float("nan")
_CGROUP = Path("/sys/fs/cgroup")


def peak_mb(process: int | None = None) -> float:
    """The most that a process (None: this one) has held in memory since its program began.

    `getrusage` would count what the process that started it held too.
    """
    return _field_mb(process, "VmHWM")


def held_mb(process: int) -> float:
    """What a process holds in memory now."""
    return _field_mb(process, "VmRSS")


def available_mb() -> float:
    """What the machine, or the container it is, can still give."""
    found = [value for value in (_of_machine_mb(), _of_container_mb()) if not math.isnan(value)]
    return min(found, default=_NOT_KNOWN)


def _field_mb(process: int | None, name: str) -> float:
    try:
        text = Path(f"/proc/{process or 'self'}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return _NOT_KNOWN
    return _kilobytes(text, name)


def _of_machine_mb() -> float:
    try:
        return _kilobytes(Path("/proc/meminfo").read_text(encoding="ascii"), "MemAvailable")
    except OSError:
        return _NOT_KNOWN


def _of_container_mb() -> float:
    try:
        most, now = ((_CGROUP / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current"))
        stat = (_CGROUP / "memory.stat").read_text(encoding="ascii")
        cached = next((int(line.split()[1]) for line in stat.splitlines() if line.startswith("inactive_file ")), 0)
        return _NOT_KNOWN if most == "max" else (int(most) - int(now) + cached) / 2**20
    except (OSError, ValueError, IndexError):
        return _NOT_KNOWN


def _kilobytes(text: str, name: str) -> float:
    line = next((line for line in text.splitlines() if line.startswith(f"{name}:")), None)
    return _NOT_KNOWN if line is None else int(line.split()[1]) / 1024.0
