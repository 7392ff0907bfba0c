"""Settings of a registration; defaults here, YAML and `--set` only override."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from nufitdose.config import Settings
from nufitdose.errors import InputError


class RegistrationSettings(Settings):
    """How scans are brought onto the reference.

    `weights` is a weights file of the network (.safetensors, its card beside it), null for the ones that come with
    the program. `options` change the chosen engine's own settings (docs/explanation/registration.md).
    `similarity_activity` is how deformable engines compare activities; "auto" is lncc, and mind between two studies
    of different nuclides. Two tracers of one nuclide are not told apart: say mind or ngf for them. `tumour_rigidity`
    makes instance optimisation stiffen the tumours that are drawn on the reference, more with a larger value.
    """

    engine: str = Field(default="nufit", validate_default=False)
    weights: Path | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    similarity_activity: Literal["auto", "lncc", "mind", "ngf"] = "auto"
    tumour_rigidity: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @classmethod
    def known_names(cls) -> Mapping[str, Iterable[str]]:
        """The engines."""
        from nufitdose.registration.engines.registry import ENGINES  # only here: it loads torch

        return {"engine": ENGINES}

    @field_validator("engine")
    @classmethod
    def _known(cls, engine: str) -> str:
        from nufitdose.registration.engines.registry import find_engine  # as above

        try:
            find_engine(engine)
        except InputError as error:
            raise ValueError(f"{error.problem}. {error.remedy}") from error
        return engine

    @model_validator(mode="after")
    def _options_fit(self) -> "RegistrationSettings":
        if self.options:
            from nufitdose.registration.engines.registry import find_engine

            try:
                find_engine(self.engine).settings_with(self.options)
            except InputError as error:
                raise ValueError(error.problem) from error
        return self

    def resolve(self, fixed_nuclide: str, moving_nuclide: str) -> "RegistrationSettings":
        """The same with "auto" made definite: activities of two nuclides are those of two tracers."""
        if self.similarity_activity != "auto":
            return self
        return self.model_copy(update={"similarity_activity": "lncc" if fixed_nuclide == moving_nuclide else "mind"})

    def check_needs(self) -> None:
        """Raise `InputError` where the engine's package or weights file is missing; for before any long work."""
        from nufitdose.registration.engines.engine import Need
        from nufitdose.registration.engines.registry import find_engine
        from nufitdose.registration.network import check_weights

        engine = find_engine(self.engine)
        engine.check_installed()
        if Need.WEIGHTS in engine.needs:
            check_weights(self.weights)
