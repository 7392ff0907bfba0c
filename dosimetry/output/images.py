"""The maps of a run."""

from pathlib import Path

import numpy as np

from dosimetry.biological import biological_maps
from dosimetry.results import PatientResults
from nufitdose.io.nifti import save_array, save_volume
from nufitdose.volume import Quantity, Volume


def write_maps(results: PatientResults, folder: Path) -> None:
    """maps/: TIA, dose and its uncertainty (NaN where unknown), BED, effective half-life, fit status and residual."""
    place = folder / "maps"
    place.mkdir()
    maps, grid = results.maps, results.maps.dose.grid
    save_volume(maps.tia, place / "tia.nii.gz")
    save_volume(maps.dose, place / "dose.nii.gz")
    if maps.u_dose is not None:
        save_volume(maps.u_dose, place / "dose_uncertainty.nii.gz")
    wanted = ("bed", "eqd2") if results.settings.metrics.radiobiology.eqd2_map else ("bed",)
    for name, volume in biological_maps(maps.dose, results.structures).items():
        if name in wanted:
            save_volume(volume, place / f"{name}.nii.gz")
    teff_h = np.nan_to_num(maps.fit.teff_h.reshape(grid.shape), nan=0.0)
    save_volume(Volume(teff_h, grid, Quantity.TIME), place / "effective_half_life.nii.gz")
    rmse = maps.fit.rmse.reshape(grid.shape)
    save_volume(Volume(rmse, grid, Quantity.ACTIVITY), place / "fit_rmse.nii.gz")
    save_array(maps.fit.status.reshape(grid.shape).astype(np.uint8), grid, place / "fit_model.nii.gz")
