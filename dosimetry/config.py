"""Settings of the patient run; defaults here, YAML and `--set` only override."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from nufitdose.config import Settings, build, read_yaml, with_overrides


class RegistrationSettings(Settings):
    """How the time points are brought onto the reference."""

    engine: str = "rigid"


class KineticsSettings(Settings):
    """What is fitted in each voxel.

    `guided`: voxels of a structure borrow its rate as far as their noise asks for (three scans or more). It lowers
    the scatter in organs; where a structure's activity rises before it falls it is biased, so it is off by default.
    """

    model: Literal["mono"] = "mono"
    guided: bool = False


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
