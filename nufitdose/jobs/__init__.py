"""Many jobs, each in a process of its own: a crash, want of memory or too long a run is that job's outcome alone."""

from nufitdose.jobs.run import run_jobs
from nufitdose.jobs.values import Fault, FaultKind, Job, Outcome, Running, Watch

__all__ = ["Fault", "FaultKind", "Job", "Outcome", "Running", "Watch", "run_jobs"]
