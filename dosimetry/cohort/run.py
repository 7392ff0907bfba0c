"""A cohort, top to bottom: find the studies, run what is not done yet, write the tables and the page."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dosimetry.cohort.finished import Wanted
from dosimetry.cohort.member import expected_memory_mb, run_member
from dosimetry.cohort.page import write_page
from dosimetry.cohort.values import COHORT_COLUMNS, MemberResult, Status, read_member, structure_rows
from dosimetry.cohort.watching import Watcher
from dosimetry.config import DosimetrySettings
from nufitdose.errors import InputError
from nufitdose.files import whole_file
from nufitdose.io.cohort_folder import find_studies
from nufitdose.io.csv_table import write_csv
from nufitdose.jobs import Job, Outcome, run_jobs
from nufitdose.progress import Steps, Stream
from nufitdose.run import RunRecord, growing_folder, write_record

PATIENTS = "patients"
TABLE, STRUCTURES = "cohort.csv", "structures.csv"


@dataclass(frozen=True)
class Machines:
    """Where patients run: `workers` processes of this machine, or the workers of a Dask scheduler at an address.

    A patient that takes longer than `timeout_s` has failed.
    """

    workers: int = 1
    scheduler: str | None = None
    timeout_s: float | None = None


def run_cohort(
    cohort: str | Path,
    out: str | Path,
    settings: DosimetrySettings | None = None,
    machines: Machines | None = None,
    *,
    device: str = "auto",
    seed: int = 0,
    stream: Stream | None = None,
) -> tuple[MemberResult, ...]:
    """Run every study of a cohort into `out`/patients, and write cohort.csv, structures.csv, cohort.html and run.json.

    A patient whose results are there already, of the same inputs, settings, weights, seed and version, is kept. Each
    runs in a process of its own; what fails is tried once more and is a row in the end. Raises `InputError` where
    there is no study, `out` holds something else or is in use, and settings lack what they need.
    """
    settings, machines = settings or DosimetrySettings(), machines or Machines()
    settings.registration.check_needs()
    place = Path(cohort)
    names = name_studies(find_studies(place), place if place.is_dir() else place.parent)
    wanted = wanted_of(settings, device, seed)
    record = RunRecord("cohort", {**wanted.config}, seed=seed, device=device)
    with growing_folder(out, marker=PATIENTS, kind="cohort run", inputs=names.values()) as folder:
        with Steps(1.0, stream) as steps, steps.step(f"running {len(names)} patients") as on_progress:
            found: dict[str, MemberResult] = {}
            with Watcher(folder, len(names), stream) as watcher:

                def take(outcome: Outcome) -> None:
                    member = read_member(outcome.key, folder / PATIENTS / outcome.key, outcome)
                    found[outcome.key] = member
                    watcher.ended(member)
                    on_progress(watcher.share)

                jobs = member_jobs(names, folder / PATIENTS, wanted)
                run_jobs(
                    jobs,
                    take,
                    workers=machines.workers,
                    scheduler=machines.scheduler,
                    timeout_s=machines.timeout_s,
                    watch=watcher.watch,
                )
        record.timings_s = dict(steps.seconds)
        members = tuple(found[name] for name in names)
        record.notes = {"patients": {member.study: member.status.value for member in members}}
        write_cohort(members, record, folder)
    return members


def wanted_of(settings: DosimetrySettings, device: str, seed: int) -> Wanted:
    """What finished results must have been made with."""
    from nufitdose.registration.engines.registry import find_engine
    from nufitdose.registration.scan_to_scan import load_network_for

    network = load_network_for(find_engine(settings.registration.engine), settings.registration.weights)
    digest = None if network is None else network.sha256
    return Wanted(settings.model_dump(mode="json"), digest, seed, device)


def name_studies(folders: list[Path], root: Path) -> dict[str, Path]:
    """The studies by their path below the cohort, with `/`. Raises `InputError` on one that lies elsewhere."""
    names: dict[str, Path] = {}
    for folder in folders:
        try:
            name = folder.resolve().relative_to(root.resolve()).as_posix()
        except ValueError as error:
            raise InputError("a study of the cohort lies outside its folder", where=folder) from error
        names[root.resolve().name if name == "." else str(PurePosixPath(name))] = folder.resolve()
    return names


def member_jobs(names: dict[str, Path], results: Path, wanted: Wanted) -> list[Job]:
    """A job for every study."""
    return [
        Job(name, run_member, (study, results / name, wanted), memory_mb=expected_memory_mb(study))
        for name, study in names.items()
    ]


def write_cohort(members: tuple[MemberResult, ...], record: RunRecord, folder: Path) -> None:
    """The tables, the page and run.json, each whole or not at all."""
    columns, rows = structure_rows(members)
    with whole_file(folder / TABLE) as aside:
        write_csv(aside, COHORT_COLUMNS, [member.row for member in members])
    with whole_file(folder / STRUCTURES) as aside:
        write_csv(aside, columns, rows)
    write_page(members, record, folder)
    write_record(record, folder)


def failed(members: tuple[MemberResult, ...]) -> tuple[MemberResult, ...]:
    """Those that failed."""
    return tuple(member for member in members if member.status is Status.FAILED)
