"""The results as DICOM objects, in dicom/: dose, structures, registrations, maps and numbers."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from dosimetry.output.dicom_numbers import measured_structures
from dosimetry.results import PatientResults, StructureResult
from nufitdose.io.dicom.write.measurements import write_measurements
from nufitdose.io.dicom.write.orientation import in_cells
from nufitdose.io.dicom.write.parametric_map import MapQuantity, write_parametric_map
from nufitdose.io.dicom.write.placement import Placement, place_on
from nufitdose.io.dicom.write.registration import write_registration
from nufitdose.io.dicom.write.rtdose import Histogram, write_rtdose
from nufitdose.io.dicom.write.rtstruct import roi_numbers, write_rtstruct
from nufitdose.io.dicom.write.segmentation import write_segmentation
from nufitdose.registration.inversion import NotInvertibleError
from nufitdose.registration.series import Frame
from nufitdose.study import Structures, TimePoint
from nufitdose.volume import Quantity, Volume

_log = logging.getLogger(__name__)
_BINS = 500  # of a histogram
_LATTICE_MM = 4.0  # no registration object has a finer grid than this: fields are smooth on it

_TIA = MapQuantity("TIA", "Time-integrated activity concentration", "Bq.h/mL", "becquerel hours per milliliter")
_TEFF = MapQuantity("T_EFF", "Effective half-life", "h", "hours")
_U_DOSE = MapQuantity("U_DOSE", "Standard uncertainty of absorbed dose", "Gy", "gray")


def write_dicom_if_wanted(results: PatientResults, folder: Path) -> None:
    """dicom/, when asked for or when the reference scan came from DICOM; what is asked for is written."""
    settings = results.settings.output
    if settings.dicom == "never" or (settings.dicom == "auto" and not results.study.dicom):
        return
    place = folder / "dicom"
    place.mkdir()
    wanted = frozenset(settings.dicom_objects)
    study, grid = results.study, results.maps.dose.grid
    on_dose = place_on(study, study.reference, grid)
    structures = study.structures if study.structures and study.structures.present() else None
    contours = _write_rtstruct(results, structures, place) if structures and wanted & {"rtstruct", "rtdose"} else None
    if "rtdose" in wanted:
        write_rtdose(
            in_cells(results.maps.dose),
            on_dose.dicom,
            place / "rtdose.dcm",
            comment=f"{study.nuclide}, dose engine {results.settings.dose.engine}",
            histograms=tuple(_histograms(results.structures, roi_numbers(structures))) if structures else (),
            structure_set=contours,
        )
    if structures and wanted & {"seg", "sr"}:
        _write_segments(results, structures, place, with_numbers="sr" in wanted)
    if "maps" in wanted:
        _write_maps(results, on_dose, place)
    for frame, timepoint in zip(results.frames, study.timepoints, strict=True):
        if frame.registration is None:
            continue
        if "reg" in wanted:
            _write_registration(results, frame, timepoint, place)
        if structures and "propagated" in wanted:
            _write_propagated(results, structures, frame, timepoint, place)


def _write_rtstruct(results: PatientResults, structures: Structures, place: Path) -> Dataset:
    study = results.study
    placement = place_on(study, study.reference, structures.layers[0].grid)
    return write_rtstruct(structures, placement, place / "rtstruct.dcm")


def _histograms(rows: Iterable[StructureResult], numbers: dict[str, int]) -> Iterable[Histogram]:
    for row in rows:
        found = row.histogram
        doses = np.linspace(0.0, float(found.dose_gy[0]), _BINS)
        volume_ml = np.array([found.v_percent(gy) for gy in doses]) / 100.0 * found.total_ml
        yield Histogram(
            numbers[row.name],
            float(doses[1]),
            volume_ml,
            float(found.dose_gy[-1]),
            found.mean_gy,
            float(found.dose_gy[0]),
        )


def _write_segments(results: PatientResults, structures: Structures, place: Path, *, with_numbers: bool) -> None:
    study = results.study
    placement = place_on(study, study.reference, structures.layers[0].grid)
    segments = write_segmentation(structures, placement, place / "seg.dcm")
    if with_numbers:
        series = placement.source.series_uid if placement.source else str(segments.SeriesInstanceUID)
        numbers = measured_structures(results, roi_numbers(structures))
        write_measurements(numbers, segments, series, place / "measurements.dcm")


def _write_maps(results: PatientResults, placement: Placement, place: Path) -> None:
    maps, grid = results.maps, results.maps.dose.grid
    write_parametric_map(maps.tia, _TIA, placement, place / "map_tia.dcm")
    teff_h = Volume(maps.fit.teff_h.reshape(grid.shape), grid, Quantity.TIME)
    write_parametric_map(teff_h, _TEFF, placement, place / "map_effective_half_life.dcm")
    if maps.u_dose is not None and np.isfinite(maps.u_dose.data).any():
        write_parametric_map(maps.u_dose, _U_DOSE, placement, place / "map_dose_uncertainty.dcm")


def _write_registration(results: PatientResults, frame: Frame, timepoint: TimePoint, place: Path) -> None:
    assert frame.registration is not None
    study, grid = results.study, results.study.reference.activity.grid
    a, b, c = (max(side, _LATTICE_MM) for side in grid.spacing_mm)
    field = frame.registration.field.on(grid.resampled((a, b, c)))
    fixed = place_on(study, study.reference, grid)
    moving = place_on(study, timepoint, timepoint.activity.grid)
    write_registration(field.data, field.grid, fixed, moving, place / f"reg_{frame.id}.dcm")


def _write_propagated(
    results: PatientResults, structures: Structures, frame: Frame, timepoint: TimePoint, place: Path
) -> None:
    """The structures of the reference on another scan, carried there by the inverse of its field."""
    assert frame.registration is not None
    grid = timepoint.activity.grid
    try:
        back = frame.registration.field.inverse(onto=grid)
    except NotInvertibleError as error:
        _log.warning("%s: structures are not carried onto this scan: %s", frame.id, error)
        return
    layers = tuple(back.warp(layer, onto=grid) for layer in structures.layers)
    carried = Structures(layers, structures.names, structures.tumours)
    lost = sorted(set(structures.present()) - set(carried.present()))
    if lost:
        _log.warning(
            "%s: %s lie outside its field of view: not in dicom/seg_%s.dcm", frame.id, ", ".join(lost), frame.id
        )
    if carried.present():
        write_segmentation(carried, place_on(results.study, timepoint, grid), place / f"seg_{frame.id}.dcm")
