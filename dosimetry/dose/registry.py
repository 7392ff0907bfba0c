"""From time-integrated activity to absorbed dose, by an engine chosen by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dosimetry.config import DoseSettings
from dosimetry.dose import kernel, local, montecarlo
from dosimetry.dose.values import AbsorbedDose, DoseRequest
from nufitdose.anatomy.prepared import PreparedAnatomy, prepare_anatomy
from nufitdose.errors import InputError
from nufitdose.progress import OnProgress
from nufitdose.registry import find_by_name
from nufitdose.types import Image32
from nufitdose.volume import Quantity, Volume


@dataclass(frozen=True)
class DoseEngine:
    """One way from activity to dose.

    `compute` returns the dose and its own statistical error. `needs_ct` says that there is no dose without a CT.
    `method` stands in the report after "converted to dose by", `left_out` are sentences on what the dose lacks; both
    may name {local_mev}, {photon_mev} and {photon_percent} of the nuclide. `parts` are two maps of which the dose is
    the sum, each times a number of its own in every voxel that hardly depends on where in this body the activity is.
    `departure` is by how much the mean dose of a structure of this density (g/mL) and volume (mL) departs from
    transport, relative, where that was measured.
    """

    name: str
    compute: Callable[[DoseRequest], AbsorbedDose]
    method: str
    left_out: tuple[str, ...]
    parts: Callable[[DoseRequest], tuple[Image32, Image32]]
    needs_ct: bool = False
    departure: Callable[[float, float], float] = lambda density_g_ml, volume_ml: 0.0


#: The engines by name. Their settings are keys of `DoseSettings`.
ENGINES: Mapping[str, DoseEngine] = {
    engine.name: engine
    for engine in (
        DoseEngine("local", local.deposit_locally, local.METHOD, local.LEFT_OUT, local.parts_in_place),
        DoseEngine(
            "kernel",
            kernel.convolve_with_kernels,
            kernel.METHOD,
            kernel.LEFT_OUT,
            kernel.parts_in_water,
            departure=kernel.departure_from_transport,
        ),
        DoseEngine(
            "montecarlo", montecarlo.transport_on_ct, montecarlo.METHOD, montecarlo.LEFT_OUT, kernel.parts_in_water
        ),
    )
}


def find_dose_engine(name: str) -> DoseEngine:
    """One of `ENGINES`; raises `InputError` on an unknown name."""
    return find_by_name("dose engine", name, ENGINES)


def absorbed_dose(
    tia: Volume,
    *,
    nuclide: str,
    ct: Volume | PreparedAnatomy | None = None,
    engine: str = "kernel",
    u_tia: Volume | None = None,
    settings: DoseSettings | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
    device: str = "cpu",
) -> AbsorbedDose:
    """Dose in Gy on the grid of `tia` (Bq·h/mL) and its standard error, which needs `u_tia` (Bq·h/mL).

    `ct` in HU, or what was prepared of it on the grid of `tia`, for several doses on it. Without CT, and beyond its
    field of view, density is `settings.density_without_ct_g_ml`. `settings.engine` is not looked at; `seed` and
    `on_progress` (the finished share) are for `montecarlo`, `device` ("cpu", "cuda", or "auto": a GPU where there is
    one) for `kernel`. `InputError` for an unknown engine, nuclide or device, or where the engine needs a CT and there
    is none.
    """
    for volume in (tia, *([] if u_tia is None else [u_tia])):
        if volume.quantity is not Quantity.TIA:
            raise ValueError(f"absorbed dose needs a volume of {Quantity.TIA}, got {volume.quantity}")
    if u_tia is not None and not u_tia.grid.matches(tia.grid):
        raise ValueError("the uncertainty of the time-integrated activity lies on another grid than that")
    chosen, settings = find_dose_engine(engine), settings or DoseSettings()
    if chosen.needs_ct and ct is None:
        raise InputError(
            f"the dose engine {engine!r} needs a CT, and the reference time point has none",
            remedy="Give the reference time point a CT, or choose dose.engine=local",
        )
    if isinstance(ct, Volume):
        ct = prepare_anatomy(ct, tia.grid, beyond_ct_g_ml=settings.density_without_ct_g_ml)
    return chosen.compute(DoseRequest(tia, u_tia, nuclide, ct, settings, seed, on_progress, _resolved(device)))


def dose_parts(
    activity: Volume,
    *,
    nuclide: str,
    ct: PreparedAnatomy | None,
    engine: str,
    settings: DoseSettings,
    device: str = "cpu",
) -> tuple[Image32, Image32]:
    """The two `DoseEngine.parts` of the dose of some activity; arguments as in `absorbed_dose`."""
    return find_dose_engine(engine).parts(DoseRequest(activity, None, nuclide, ct, settings, device=_resolved(device)))


def _resolved(device: str) -> str:
    if device == "cpu":
        return device
    from nufitdose.device import resolve_device  # only here: torch takes seconds to load

    return resolve_device(device).type
