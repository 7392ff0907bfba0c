"""Settings of the patient run; defaults here, YAML and `--set` only override."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from nufitdose.config import Settings, build, read_yaml, with_overrides
from nufitdose.errors import InputError
from nufitdose.registration.settings import RegistrationSettings

REST = "rest"  # in `models` and `half_lives_h`: the voxels of no structure


class KineticsSettings(Settings):
    """Which curve goes through the activity of each structure and its voxels; names as in docs/how-to/curves.md.

    `model` is the curve method of every structure that `models` does not name; "rest" there stands for the voxels of
    no structure. "auto" takes for each structure the model with the largest Akaike weight, "aicc_voxel" the best one
    for each voxel, "bayes" averages over models. `tracer` names the published half-lives that "bayes" starts from,
    such as PSMA-617; null: wide ones. `half_lives_h` are effective half-lives of a population, for "population" alone.
    `u_activity_percent` is the relative standard uncertainty of a structure's activity at each scan, independent
    between scans; without it errors come from the residuals. `averaged`: a structure's own integral is the mean over
    the models, weighted by Akaike. `preserve_total`: the voxels of a structure are scaled to its own integral.
    `guided`: voxels of a structure borrow its rate as far as their noise asks for (three scans or more). `intervals`:
    95 % confidence intervals of the fitted curves. `shared_rates`: groups of structures whose curves have their rates
    in common, such as both kidneys.
    """

    model: str = Field(default="auto", validate_default=False)
    models: dict[str, str] = Field(default_factory=dict)
    tracer: str | None = None
    half_lives_h: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    u_activity_percent: float | None = Field(default=None, gt=0, le=100)
    averaged: bool = False
    preserve_total: bool = False
    guided: bool = False
    intervals: Literal["none", "profile", "bootstrap"] = "none"
    shared_rates: tuple[tuple[str, ...], ...] = ()

    @field_validator("model")
    @classmethod
    def _known_method(cls, name: str) -> str:
        from dosimetry.curves.methods import find_method  # only here: it loads what compiles the fits

        return _known_name(name, find_method)

    @field_validator("models")
    @classmethod
    def _known_methods(cls, models: dict[str, str]) -> dict[str, str]:
        return {structure: cls._known_method(name) for structure, name in models.items()}

    @field_validator("tracer")
    @classmethod
    def _known_tracer(cls, name: str | None) -> str | None:
        from dosimetry.kinetics.priors import tracer_named  # as above

        if name is None:
            return None
        _known_name(name, tracer_named)
        return tracer_named(name)

    def method(self, structure: str) -> str:
        """The curve method asked for this structure, or for "rest"."""
        return self.models.get(structure, self.model)


class DoseSettings(Settings):
    """How time-integrated activity becomes dose.

    `density_without_ct_g_ml` is the density of every voxel where the reference has no CT;
    `density_floor_g_ml` bounds the division by density in lung and gas. `montecarlo` goes on until blocks of 20 mL have
    a statistical standard error of `statistical_percent` (95 % of those with 1 % of the greatest dose), or for
    `time_budget_s` (null: as long as it takes).
    """

    engine: str = Field(default="kernel", validate_default=False)
    density_without_ct_g_ml: float = Field(default=1.0, gt=0, le=25)
    density_floor_g_ml: float = Field(default=0.2, gt=0, le=2)
    statistical_percent: float = Field(default=2.0, ge=0.05, le=50)
    time_budget_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, name: str) -> str:
        from dosimetry.dose.registry import find_dose_engine  # only here: engines are built on these settings

        return _known_name(name, find_dose_engine)


def _known_name(name: str, find: Callable[[str], object]) -> str:
    """The name, if a registry finds it; pydantic wants its complaints as ValueError."""
    try:
        find(name)
    except InputError as error:
        raise ValueError(f"{error.problem}. {error.remedy}") from error
    return name


class MetricsSettings(Settings):
    """`volume_at_gy`: the doses x of V_x, the share of a structure that receives at least x."""

    volume_at_gy: tuple[float, ...] = (2.0, 5.0, 10.0, 20.0)


class OutputSettings(Settings):
    """`dicom`: RTDOSE always, never, or when the reference came from DICOM."""

    dicom: Literal["auto", "always", "never"] = "auto"


class DosimetrySettings(Settings):
    """Everything a patient run can be told."""

    registration: RegistrationSettings = RegistrationSettings()
    kinetics: KineticsSettings = KineticsSettings()
    dose: DoseSettings = DoseSettings()
    metrics: MetricsSettings = MetricsSettings()
    output: OutputSettings = OutputSettings()


def load_settings(path: Path | None, overrides: Iterable[str] = ()) -> DosimetrySettings:
    """The settings of a YAML file (or the defaults) with `key=value` overrides on top."""
    content: dict[str, Any] = read_yaml(path) if path else {}
    return build(DosimetrySettings, with_overrides(content, overrides), where=path or "--set")
