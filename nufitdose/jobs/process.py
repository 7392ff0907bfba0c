"""One job in a process of its own, from its parent's side."""

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO, Any

from nufitdose.jobs.memory import held_mb, peak_mb
from nufitdose.jobs.values import Fault, FaultKind, Job, Outcome, Running
from nufitdose.printable import printable

_GRACE_S = 5.0  # from the request to end to the end
_TAIL_BYTES = 4000
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class JobProcess:
    """A job at work in a process of its own, with its own group: `wait` gives the outcome, `stop` ends it.

    `threads` is how many it may use, where the environment does not say.
    """

    def __init__(self, job: Job, *, timeout_s: float | None = None, threads: int | None = None) -> None:
        self.key = job.key
        self._content = pickle.dumps(sys.path) + pickle.dumps(pickle.dumps(job))
        self._timeout_s = timeout_s
        self._environment = {**dict.fromkeys(_THREADS, str(threads)), **os.environ} if threads else dict(os.environ)
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `wait`)
        self._started_s = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = threading.Event()
        self._late = False
        self._peak_mb = float("nan")

    def wait(self) -> Outcome:
        """Start the process, and return what came of it. For one call, from any thread."""
        self._started_s = time.monotonic()
        answer = b""
        with self._log:
            if not self._asked.is_set():
                answer = self._talk()
            return self._outcome(answer, time.monotonic() - self._started_s)

    def stop(self) -> None:
        """End it, asked first and by force after some seconds; returns at once."""
        self._asked.set()
        self._signal(signal.SIGTERM)
        timer = threading.Timer(_GRACE_S, self._signal, [signal.SIGKILL])
        timer.daemon = True
        timer.start()

    def look(self) -> Running:
        """How it stands."""
        process = self._process
        if process is not None and process.returncode is None:
            self._peak_mb = peak_mb(process.pid)
        lines = self._tail().splitlines()
        return Running(self.key, time.monotonic() - self._started_s, self.held_mb(), lines[-1] if lines else "")

    def held_mb(self) -> float:
        """What it holds in memory now; 0 where that is not known yet."""
        found = float("nan") if self._process is None else held_mb(self._process.pid)
        return found if found > 0 else 0.0

    def _talk(self) -> bytes:
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "nufitdose.jobs.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for the parent, which ends it
        )
        assert process.stdin is not None
        assert process.stdout is not None
        if self._asked.is_set():  # meanwhile
            self.stop()
        timer = threading.Timer(self._timeout_s, self._end_late) if self._timeout_s else None
        if timer:
            timer.daemon = True
            timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(self._content)
                process.stdin.flush()
            answer = process.stdout.read()
            process.wait()
        finally:
            if timer:
                timer.cancel()
            process.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        return answer

    def _end_late(self) -> None:
        self._late = True
        self.stop()

    def _signal(self, number: int) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)

    def _tail(self) -> str:
        if self._log.closed:
            return ""
        handle = self._log.fileno()
        size = os.fstat(handle).st_size
        text = os.pread(handle, _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode("utf-8", "replace")
        return printable(text.strip(), most=_TAIL_BYTES, lines=True)

    def _outcome(self, answer: bytes, seconds: float) -> Outcome:
        value: Any = None
        fault: Fault | None
        try:
            value, fault, self._peak_mb = pickle.loads(answer)  # noqa: S301  (of the child's own process)
        except (EOFError, pickle.UnpicklingError):
            fault = self._why_no_answer()
        if fault is not None:
            fault = Fault(fault.kind, fault.text, self._tail())
        return Outcome(self.key, value, fault, seconds, self._peak_mb, socket.gethostname())

    def _why_no_answer(self) -> Fault:
        code = self._process.returncode if self._process is not None else 0
        if self._late:
            return Fault(FaultKind.TIMEOUT, f"it was ended after {self._timeout_s:g} s, the longest that is allowed")
        if code == -signal.SIGKILL:
            return Fault(FaultKind.KILLED, "its process was killed (signal 9), most likely for want of memory")
        if code < 0:
            return Fault(FaultKind.ERROR, f"its process crashed (signal {-code}, {signal.Signals(-code).name})")
        return Fault(FaultKind.ERROR, f"its process ended without an answer (exit code {code})")
