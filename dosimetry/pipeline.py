"""The patient run, top to bottom: registration, voxel curves, absorbed dose, structures, files."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from dosimetry.config import REST, DosimetrySettings
from dosimetry.curves.methods import check_methods
from dosimetry.curves.structures import StructureCurve, structure_curves, warn_of_cuts
from dosimetry.curves.voxels import fit_frames
from dosimetry.dose import Tissue, absorbed_dose, tissue_from_ct
from dosimetry.metrics import Region
from dosimetry.output.images import write_maps, write_rtdose_if_wanted
from dosimetry.output.tables import write_tables
from dosimetry.plausibility import check_study
from dosimetry.report import write_report
from dosimetry.results import DoseMaps, PatientResults
from dosimetry.structures import regions_of, structure_results
from nufitdose.io.study_run import study_run
from nufitdose.nuclides import half_life_h
from nufitdose.progress import Steps, Stream
from nufitdose.registration.output import write_registered
from nufitdose.registration.series import SECONDS_A_PAIR, Frame, overlay_series, register_series, weights_sha256
from nufitdose.run import RunRecord
from nufitdose.study import Study
from nufitdose.volume import Quantity, Volume

# Expected seconds of a step on a whole-body study, for the progress bar alone.
_COST = {"read": 2.0, "maps": 3.0, "unregistered": 3.0, "structures": 3.0, "write": 8.0, "report": 6.0}


def run_patient(
    study: Study | str | Path,
    out: str | Path,
    settings: DosimetrySettings | None = None,
    *,
    device: str = "auto",
    seed: int = 0,
    stream: Stream | None = None,
) -> PatientResults:
    """Run the whole chain, write every file of the results folder `out`, and return what was found.

    `study` is a `Study` or the path of a study folder; progress goes to `stream`. Raises `InputError` on
    anything the user can mend; `out` is then left as it was.
    """
    settings = settings or DosimetrySettings()
    settings.registration.check_needs()
    record = RunRecord("dosimetry", settings.model_dump(mode="json"), seed=seed, device=device)
    with (
        study_run([study], out, record) as (place, (loaded,)),
        Steps(sum(_COST.values()) + SECONDS_A_PAIR * (len(loaded.timepoints) - 1), stream) as steps,
    ):
        results = analyse(loaded, settings, steps, device=device)
        results = replace(results, warnings=tuple(record.warnings))
        record.notes["weights_sha256"] = weights_sha256(results.frames)
        with steps.step("writing tables and maps", _COST["write"]):
            write_tables(results, place)
            write_maps(results, place)
            write_registered(results.study.reference, results.study.timepoints, results.frames, place)
            write_rtdose_if_wanted(results, place)
        with steps.step("writing the report", _COST["report"]):
            record.timings_s = steps.seconds
            write_report(results, record, place)
    return results


def analyse(study: Study, settings: DosimetrySettings, steps: Steps, *, device: str = "auto") -> PatientResults:
    """The chain itself, in memory: study -> registered frames -> voxel curves -> dose -> structures."""
    with steps.step("reading and checking the scans", _COST["read"]):
        check_study(study)
        grid, ct = study.reference.activity.grid, study.reference.ct
        tissue = None
        if ct is not None:
            tissue = tissue_from_ct(ct, grid, beyond_ct_g_ml=settings.dose.density_without_ct_g_ml)
        regions = regions_of(study)
        check_methods(settings.kinetics, regions, len(study.timepoints), half_life_h(study.nuclide))
    frames = register_series(study, settings.registration, steps, device=device)
    with steps.step("fitting voxel curves, computing dose", _COST["maps"]):
        curves = structure_curves(frames, regions, settings.kinetics, half_life_h(study.nuclide))
        warn_of_cuts(curves, frames)
        maps = dose_maps(frames, study, settings, regions, curves, tissue)
    plain: tuple[Frame, ...] = ()
    unregistered = None
    if len(frames) > 1 and settings.registration.engine != "none":
        with steps.step("the same without registration", _COST["unregistered"]):
            plain = overlay_series(study)
            plain_curves = structure_curves(plain, regions, settings.kinetics, half_life_h(study.nuclide))
            unregistered = dose_maps(plain, study, settings, regions, plain_curves, tissue)
    with steps.step("measuring structures", _COST["structures"]):
        structures = structure_results(
            study, settings, regions, curves, maps, unregistered, tissue.density if tissue else None
        )
    return PatientResults(
        study=study,
        settings=settings,
        frames=frames,
        maps=maps,
        dose_uncertainty=_dose_uncertainty(maps),
        unregistered_frames=plain,
        unregistered=unregistered,
        tissue=tissue,
        structures=structures,
        rest=curves[REST],
    )


def dose_maps(
    frames: tuple[Frame, ...],
    study: Study,
    settings: DosimetrySettings,
    regions: Mapping[str, Region],
    curves: Mapping[str, StructureCurve],
    tissue: Tissue | None,
) -> DoseMaps:
    """Voxel curves of the models of `curves`, their exact integral, and the dose of it."""
    grid = study.reference.activity.grid
    fit = fit_frames(frames, half_life_h(study.nuclide), settings.kinetics, regions, curves)
    tia = Volume(fit.tia.reshape(grid.shape), grid, Quantity.TIA)
    dose = absorbed_dose(
        tia,
        tissue,
        study.nuclide,
        settings.dose.engine,
        density_without_ct_g_ml=settings.dose.density_without_ct_g_ml,
        density_floor_g_ml=settings.dose.density_floor_g_ml,
    )
    return DoseMaps(fit, tia, dose)


def _dose_uncertainty(maps: DoseMaps) -> Volume:
    tia = maps.tia.data
    relative = np.divide(maps.fit.u_tia.reshape(tia.shape), tia, out=np.zeros_like(tia), where=tia > 0)
    return maps.dose.with_data(maps.dose.data * relative)
