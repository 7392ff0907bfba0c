"""Several cycles of one patient, top to bottom: run what is not done, add structures, register, add voxels, write."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dosimetry.cohort.finished import read_record
from dosimetry.cohort.run import member_jobs, wanted_of
from dosimetry.config import DosimetrySettings
from dosimetry.cycles.adding import Sum, add_cycles
from dosimetry.cycles.limits import Limit, check_limits
from dosimetry.cycles.tables import write_accumulated, write_page
from dosimetry.cycles.values import Cycle, read_cycle
from dosimetry.cycles.voxels import TotalMaps, add_maps
from dosimetry.metrics import dose_volume_metrics
from dosimetry.structures import regions_of
from nufitdose.anatomy.prepared import prepare_anatomy
from nufitdose.errors import InputError, RunStopped
from nufitdose.io.nifti import save_volume
from nufitdose.io.study_folder import MANIFEST, load_study, manifest_path
from nufitdose.jobs import FaultKind, Outcome, run_jobs
from nufitdose.progress import OnProgress, Steps, Stream
from nufitdose.registration.output import write_registration_tables
from nufitdose.run import RECORD, RunRecord, collected_warnings, growing_folder, sha256, write_record

FOLDER = "cycles"
_log = logging.getLogger(__name__)


def accumulate(
    places: Sequence[str | Path],
    out: str | Path,
    settings: DosimetrySettings | None = None,
    limits: Sequence[Limit] = (),
    *,
    workers: int = 1,
    voxels: bool = True,
    device: str = "auto",
    seed: int = 0,
    stream: Stream | None = None,
) -> dict[str, Sum]:
    """Add the cycles of one patient, in the order given, each a study folder or the results folder of a finished run.

    Studies are run into `out`/cycles unless their results are there already. Writes accumulated.csv, cycles.csv,
    accumulated.html and run.json, and with `voxels` the maps on the grid of the first cycle. Raises `InputError` where
    fewer than two are given, they are of several patients or one twice, and on what the runs themselves refuse.
    """
    settings = settings or DosimetrySettings()
    settings.registration.check_needs()
    if len(places) < 2:
        raise InputError("one cycle was given, at least two are wanted")
    given = {f"cycle{n}": Path(place) for n, place in enumerate(places, start=1)}
    studies = {name: manifest_path(place).parent.resolve() for name, place in given.items() if _is_study(place)}
    record = RunRecord("accumulate", settings.model_dump(mode="json"), seed=seed, device=device)
    growing = growing_folder(out, marker=FOLDER, kind="accumulated run", inputs=given.values())
    with growing as folder, collected_warnings(record):
        with Steps(1.0 + len(given) * (1.0 if voxels else 0.0), stream) as steps:
            with steps.step(f"running {len(studies)} cycles") as on_progress:
                _run(studies, folder / FOLDER, settings, workers, device, seed, on_progress)
            cycles = [_read(name, place, studies, folder) for name, place in given.items()]
            _check_one_patient(cycles)
            sums = add_structures(cycles)
            check_limits(limits, {name: found.role for name, found in sums.items()})
            maps = add_maps(cycles, settings.registration, steps, device=device) if voxels else None
            record.timings_s = dict(steps.seconds)
        record.inputs = {f"{cycle.name}/{RECORD}": sha256(cycle.results / RECORD) for cycle in cycles}
        record.notes = {"patient": cycles[0].patient, "limits": [vars(limit) for limit in limits]}
        of_voxels = _write_maps(maps, cycles, folder) if maps else {}
        write_accumulated(cycles, sums, of_voxels, limits, folder)
        write_page(cycles, sums, limits, _lights(maps, cycles), record, folder)
        write_record(record, folder)
    return sums


def add_structures(cycles: Sequence[Cycle]) -> dict[str, Sum]:
    """The sum of every structure that a cycle has."""
    names = dict.fromkeys(name for cycle in cycles for name in cycle.doses)
    return {name: add_cycles({cycle.name: cycle.doses.get(name) for cycle in cycles}) for name in names}


def _is_study(place: Path) -> bool:
    if place.is_file() or (place / MANIFEST).is_file():
        return True
    if read_record(place) is None:
        raise InputError(
            f"here is neither a study ({MANIFEST}) nor a finished run ({RECORD})",
            where=place,
            remedy="Give one of them",
        )
    return False


def _run(
    studies: Mapping[str, Path],
    results: Path,
    settings: DosimetrySettings,
    workers: int,
    device: str,
    seed: int,
    on_progress: OnProgress,
) -> None:
    faults: list[Outcome] = []
    ended = 0

    def take(outcome: Outcome) -> None:
        nonlocal ended
        ended += 1
        on_progress(ended / len(studies))
        if outcome.fault:
            faults.append(outcome)

    run_jobs(member_jobs(dict(studies), results, wanted_of(settings, device, seed)), take, workers=workers)
    for outcome in faults:
        assert outcome.fault is not None
        kind = InputError if outcome.fault.kind is FaultKind.INPUT else RunStopped
        raise kind(f"{outcome.key} ({studies[outcome.key]}) could not be run: {outcome.fault.text}")


def _read(name: str, place: Path, studies: Mapping[str, Path], folder: Path) -> Cycle:
    study = studies.get(name)
    return read_cycle(name, place if study is None else folder / FOLDER / name, study)


def _check_one_patient(cycles: Sequence[Cycle]) -> None:
    names = sorted({cycle.patient for cycle in cycles})
    if len(names) > 1:
        raise InputError(
            f"the cycles are of several patients: {', '.join(names)}",
            remedy="Give cycles of one; where one has two names, give both studies the same 'patient'",
        )
    seen: dict[str, str] = {}
    for cycle in cycles:
        record = read_record(cycle.results) or {}
        inputs = repr(record.get("inputs"))
        if inputs in seen:
            raise InputError(f"{seen[inputs]} and {cycle.name} are the same study", remedy="Give each cycle once")
        seen[inputs] = cycle.name
    if len({cycle.nuclide for cycle in cycles}) > 1:
        _log.warning("the cycles are of several nuclides; their physical doses are added as they are")


def _write_maps(maps: TotalMaps, cycles: Sequence[Cycle], folder: Path) -> dict[str, dict[str, float]]:
    """The maps and tables of the registration; doses of the first cycle's structures over their voxels."""
    (folder / "maps").mkdir(exist_ok=True)
    save_volume(maps.dose, folder / "maps" / "dose.nii.gz")
    if maps.bed is not None:
        save_volume(maps.bed, folder / "maps" / "bed.nii.gz")
    write_registration_tables(maps.frames, folder)
    if cycles[0].study is None:
        return {}
    found, study = {}, load_study(cycles[0].study)
    ct = study.reference.ct
    density = None if ct is None else prepare_anatomy(ct, maps.dose.grid).density
    for name, region in regions_of(study).items():
        dose_gy = region.values(maps.dose)
        if np.isfinite(dose_gy).all():
            metrics = dose_volume_metrics(dose_gy, region.part_ml, region.values(density) if density else 1.0)
            found[name] = {f"dose_{key}_voxels_gy": metrics[f"dose_{key}_gy"] for key in ("mean", "d2", "d98")}
    return found


def _lights(maps: TotalMaps | None, cycles: Sequence[Cycle]) -> dict[str, str]:
    if maps is None:
        return {}
    lights = {cycle.name: frame.light for cycle, frame in zip(cycles[1:], maps.frames, strict=True)}
    return {name: f"{light.state.value}, {light.why}" for name, light in lights.items() if light}
