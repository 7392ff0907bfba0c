"""The process of one job: reads it from standard input, answers on standard output, ends when its parent does."""

import contextlib
import os
import pickle
import signal
import sys
import threading
import traceback
from types import FrameType
from typing import IO, Any, NoReturn

from nufitdose.errors import InputError, RunStopped
from nufitdose.jobs.memory import peak_mb
from nufitdose.jobs.values import Fault, FaultKind, Job

_GRACE_S = 5.0  # to clear away what is half written, once the parent is gone
_LONGEST = 2000


def main() -> None:
    """Do the job on standard input and pickle (value, fault, peak in MB) to standard output."""
    signal.signal(signal.SIGTERM, _stop)
    os.umask(os.umask(0o077) | 0o077)  # patient data: for its user alone
    given, answer = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the job prints is no answer
    sys.path[:] = pickle.load(given)  # noqa: S301  (the pipe is the parent's)
    content = pickle.load(given)  # noqa: S301
    threading.Thread(target=_end_with_parent, args=(given,), daemon=True).start()
    value, fault = _do(content)
    try:
        told = pickle.dumps((value, fault, peak_mb()))
    except Exception as error:  # what cannot be carried is a fault of the job
        told = pickle.dumps((None, Fault(FaultKind.ERROR, f"its result cannot be carried ({error})"), peak_mb()))
    answer.write(told)
    answer.close()
    sys.stderr.flush()
    os._exit(0)  # threads of libraries do not hold it up


def _do(content: bytes) -> tuple[Any, Fault | None]:
    try:
        job: Job = pickle.loads(content)  # noqa: S301
        return job.function(*job.arguments, **job.named), None
    except InputError as error:
        return None, Fault(FaultKind.INPUT, str(error))
    except MemoryError as error:
        return None, Fault(FaultKind.MEMORY, f"there was not enough memory ({error})")
    except RunStopped as error:
        return None, Fault(FaultKind.ERROR, str(error))
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        return None, Fault(FaultKind.ERROR, f"the system refused: {error.strerror or error}{place}")
    except Exception as error:
        traceback.print_exc()
        return None, Fault(FaultKind.ERROR, f"{type(error).__name__}: {error}"[:_LONGEST])


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)


def _end_with_parent(pipe: IO[bytes]) -> None:
    """Standard input ends when the parent does, however it ended."""
    with contextlib.suppress(OSError):
        pipe.read()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_GRACE_S)
    os.killpg(0, signal.SIGKILL)  # this process and those it has started


if __name__ == "__main__":
    main()
