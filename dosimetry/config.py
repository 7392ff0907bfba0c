"""Settings of the patient run; defaults here, YAML and `--set` only override."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from nufitdose.config import Settings, build, read_yaml, with_overrides
from nufitdose.registration.settings import RegistrationSettings

#: How a time-activity curve is made: chosen by AICc, fitted, drawn through the points, or taken from one scan.
Method = Literal["auto", "mono", "bi", "f3", "f3a", "trapezoid", "physical", "haenscheid", "population"]
REST = "rest"  # in `models` and `half_lives_h`: the voxels of no structure


class KineticsSettings(Settings):
    """Which curve goes through the activity of each structure and its voxels; names as in docs/explanation/kinetics.md.

    `model` holds for every structure that `models` does not name; "rest" there stands for the voxels of no
    structure. "auto" takes for each structure the model with the largest Akaike weight. `half_lives_h` are effective
    half-lives of a population, for "population" alone. `u_activity_percent` is the relative standard uncertainty of a
    structure's activity at each scan, independent between scans; without it errors come from the residuals.
    `averaged`: a structure's own integral is the mean over the models, weighted by Akaike. `preserve_total`: the
    voxels of a structure are scaled to its own integral. `guided`: voxels of a structure borrow its rate as far as
    their noise asks for (three scans or more).
    """

    model: Method = "auto"
    models: dict[str, Method] = Field(default_factory=dict)
    half_lives_h: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    u_activity_percent: float | None = Field(default=None, gt=0, le=100)
    averaged: bool = False
    preserve_total: bool = False
    guided: bool = False

    def method(self, structure: str) -> Method:
        """What is asked for this structure, or for "rest"."""
        return self.models.get(structure, self.model)


class DoseSettings(Settings):
    """How time-integrated activity becomes dose.

    `density_without_ct_g_ml` is the density of every voxel where the reference has no CT;
    `density_floor_g_ml` bounds the division by density in lung and gas.
    """

    engine: Literal["local"] = "local"
    density_without_ct_g_ml: float = Field(default=1.0, gt=0, le=25)
    density_floor_g_ml: float = Field(default=0.2, gt=0, le=2)


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
