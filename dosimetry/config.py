"""Settings of the patient run; defaults here, YAML and `--set` only override."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from nufitdose.config import Settings, build, read_yaml, with_overrides
from nufitdose.errors import InputError
from nufitdose.registration.settings import RegistrationSettings

_Finite = Annotated[float, Field(allow_inf_nan=False)]

REST = "rest"  # in `models` and `half_lives_h`: the voxels of no structure
WHOLE_BODY = "whole_body"  # all voxels that every scan sees; in `models` it follows "rest" unless it is named


class KineticsSettings(Settings):
    """Which curve goes through the activity of each structure and its voxels; names as in docs/how-to/curves.md.

    `model` is the curve method of every structure that `models` does not name; "rest" there stands for the voxels of
    no structure. "auto" takes what the number of scans asks for: physical decay for one, "bayes" for two to four,
    "aicc" from five on. "aicc" takes the model with the largest Akaike weight, "aicc_voxel" the best one for each
    voxel, "bayes" averages over models. `tracer` names the published half-lives that "bayes" starts from, such as
    PSMA-617; null: that of the study where it names one, else wide ones. `half_lives_h` are effective half-lives of a
    population, for "population" alone. `u_activity_percent` is the relative standard uncertainty of a structure's
    activity at each scan, independent between scans; without it "bayes" assumes 5 %, and errors of fits come from
    the residuals. `averaged`: a structure's own integral is the mean over the models, weighted by Akaike.
    `preserve_total`: voxels are scaled to the integral of their structure, those of no structure to the remainder's.
    `guided`: voxels of a structure borrow its rates as far as their noise asks for (three scans or more). `intervals`:
    95 % confidence intervals of the fitted curves. `shared_rates`: groups of structures whose curves have their rates
    in common, such as both kidneys.
    """

    model: str = Field(default="auto", validate_default=False)
    models: dict[str, str] = Field(default_factory=dict)
    tracer: str | None = None
    half_lives_h: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    u_activity_percent: float | None = Field(default=None, gt=0, le=100)
    averaged: bool = False
    preserve_total: bool = True
    guided: bool = True
    intervals: Literal["none", "profile", "bootstrap"] = "none"
    shared_rates: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def known_names(cls) -> Mapping[str, Iterable[str]]:
        """The curve methods, and the tracers whose half-lives are known."""
        from dosimetry.curves.methods import METHODS  # only here: it loads what compiles the fits
        from dosimetry.kinetics.priors import TRACERS

        return {"model": METHODS, "tracer": TRACERS}

    @field_validator("model")
    @classmethod
    def _known_method(cls, name: str) -> str:
        from dosimetry.curves.methods import find_method  # as above

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
        """The curve method asked for this structure, for "rest" or for "whole_body"."""
        fallback = self.models.get(REST, self.model) if structure == WHOLE_BODY else self.model
        return self.models.get(structure, fallback)

    def population_h(self, structure: str) -> float | None:
        """The effective half-life of a population for it, h; that of "rest" for the whole body without its own."""
        fallback = self.half_lives_h.get(REST) if structure == WHOLE_BODY else None
        return self.half_lives_h.get(structure, fallback)


class DoseSettings(Settings):
    """How activity becomes dose.

    `order`: "activity_first" integrates each voxel's activity over time and gives the integral to the engine;
    "dose_rate_first" has the engine find the dose rate at each scan, and integrates curves through that in each voxel,
    at the cost of one dose for each scan.
    `sphere_below_ml`: structures smaller than this are also given the self-dose of a sphere of their mass, density and
    tissue, beside that of their voxels; null: none.
    `density_without_ct_g_ml` is the density of every voxel where the reference has no CT;
    `density_floor_g_ml` bounds the division by density in lung and gas. `montecarlo` goes on until blocks of 20 mL have
    a statistical standard error of `statistical_percent` (95 % of those with 1 % of the greatest dose), or for
    `time_budget_s` (null: as long as it takes). `memory_mb` bounds what the transforms of `kernel` take on the CPU, on
    top of the images and the spectra of the kernels; less memory gives the same dose in more passes.
    """

    engine: str = Field(default="kernel", validate_default=False)
    order: Literal["activity_first", "dose_rate_first"] = "activity_first"
    sphere_below_ml: float | None = Field(default=None, gt=0, le=1000)
    density_without_ct_g_ml: float = Field(default=1.0, gt=0, le=25)
    density_floor_g_ml: float = Field(default=0.2, gt=0, le=2)
    statistical_percent: float = Field(default=2.0, ge=0.05, le=50)
    time_budget_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    memory_mb: float = Field(default=1000.0, ge=16, allow_inf_nan=False)

    @classmethod
    def known_names(cls) -> Mapping[str, Iterable[str]]:
        """The dose engines."""
        from dosimetry.dose.registry import ENGINES  # only here: engines are built on these settings

        return {"engine": ENGINES}

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, name: str) -> str:
        from dosimetry.dose.registry import find_dose_engine  # as above

        return _known_name(name, find_dose_engine)


def _known_name(name: str, find: Callable[[str], object]) -> str:
    """The name, if a registry finds it; pydantic wants its complaints as ValueError."""
    try:
        find(name)
    except InputError as error:
        raise ValueError(f"{error.problem}. {error.remedy}") from error
    return name


class UncertaintySettings(Settings):
    """What enters the budget where neither the study nor its images say it; every such part is marked as assumed.

    Relative standard uncertainties: `calibration_percent` of all activities together, where no scanner is described;
    `scan_percent` of each scan by itself beyond counting and motion (attenuation, scatter, dead time), where no scanner
    is described; `dose_percent` of the dose per decay (codes differ by 2 % for Lu-177: 2 %/√3). `registration_mm` is
    the mean distance by which scans miss each other where structures are drawn on the reference alone; null: what the
    engine left on digital patients.
    """

    calibration_percent: float = Field(default=5.0, ge=0, le=100)
    scan_percent: float = Field(default=3.0, ge=0, le=100)
    dose_percent: float = Field(default=1.2, ge=0, le=100)
    registration_mm: float | None = Field(default=None, ge=0, le=100)


class RecoverySettings(Settings):
    """What is done about the resolution of the scanner.

    `method`: "gtm", the geometric transfer matrix over the structures with voxels corrected region by region; "volume",
    each structure divided by the recovery of its volume; "none"; "auto": "gtm" where the study describes its scanner,
    else "none". Where it does not, `assumed_fwhm_mm` are the lowest and highest resolution for which it is told how
    low each structure reads; null: usual ones of SPECT or PET.
    """

    method: Literal["auto", "none", "volume", "gtm"] = "auto"
    assumed_fwhm_mm: tuple[float, float] | None = None

    @field_validator("assumed_fwhm_mm")
    @classmethod
    def _in_order(cls, widths: tuple[float, float] | None) -> tuple[float, float] | None:
        if widths is not None and not 0 < widths[0] <= widths[1] <= 60:
            raise ValueError("two widths in mm are wanted, the lower first, above 0 and at most 60")
        return widths


class TissueSettings(Settings):
    """How a structure answers to dose by the linear-quadratic model; what is null is taken from the published table.

    `alpha_beta_gy` is α/β, `t_rep_h` the half-life of repair, `alpha_per_gy` α in 1/Gy, which EUBED alone needs. The
    table: kidney 2.6 Gy, 2.8 h and liver 2.5 Gy, 2.5 h, read in public programs for radionuclide therapy; tumours
    10 Gy, 1.5 h, lung 3.1 Gy, 0.8 h, parotid 3 Gy, 3 h, stomach 10 Gy, 5 h, small_bowel 8.3 Gy, 5 h and spinal_cord
    2 Gy, 5 h, read in the library of Voyant 2014. No other structure has any.
    """

    alpha_beta_gy: float | None = Field(default=None, gt=0, le=100)
    t_rep_h: float | None = Field(default=None, gt=0, le=100)
    alpha_per_gy: float | None = Field(default=None, gt=0, le=10)


class RadiobiologySettings(Settings):
    """Biologically effective dose (docs/explanation/radiobiology.md).

    `tissues` gives the parameters of a structure by its name, or of all kidneys, livers, tumours ... by the names of
    the table, "kidney", "liver", "tumour" ...; of a derived structure both α/β and repair. `rbe_alpha` is the relative
    biological effectiveness of alpha particles; null: nuclides that emit them get no BED, as none is assumed.
    `eqd2_map`: maps/eqd2.nii.gz beside maps/bed.nii.gz.
    """

    tissues: dict[str, TissueSettings] = Field(default_factory=dict)
    rbe_alpha: float | None = Field(default=None, ge=1, le=50)
    eqd2_map: bool = False


class DerivedSettings(Settings):
    """A structure made of others, or a ball around a point (docs/how-to/derived_structures.md).

    `of`: the structures whose union it is; or `at_mm` (world, RAS+) and `radius_mm`: a ball. `margin_mm` grows that,
    or where negative shrinks it; `shell_mm` [from, to] takes what lies between two distances of its surface instead,
    negative ones inside. `without`: structures that are taken away at last, grown by `without_margin_mm`.
    """

    of: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    margin_mm: float = Field(default=0.0, ge=-100, le=100)
    without_margin_mm: float = Field(default=0.0, ge=-100, le=100)
    shell_mm: tuple[Annotated[float, Field(ge=-100, le=100)], Annotated[float, Field(ge=-100, le=100)]] | None = None
    at_mm: tuple[_Finite, _Finite, _Finite] | None = None
    radius_mm: float | None = Field(default=None, gt=0, le=1000)

    @model_validator(mode="after")
    def _one_of_each(self) -> "DerivedSettings":
        ball = self.at_mm is not None and self.radius_mm is not None
        if (self.at_mm is None) != (self.radius_mm is None):
            raise ValueError("a ball needs both at_mm and radius_mm")
        if ball == bool(self.of):
            raise ValueError("either 'of' (structures), or 'at_mm' and 'radius_mm' (a ball) is wanted")
        if self.shell_mm is not None and (self.margin_mm or not self.shell_mm[0] < self.shell_mm[1]):
            raise ValueError("shell_mm wants two distances, the smaller first, and no margin_mm beside it")
        if self.without_margin_mm and not self.without:
            raise ValueError("without_margin_mm is given, but no structure under 'without'")
        return self


class RedMarrowSettings(Settings):
    """Red marrow from a structure of the spine, from blood, or both (docs/how-to/red_marrow.md).

    `structure`: the vertebrae whose activity concentration is measured; `marrow_volume_fraction` is the share of their
    volume that marrow fills, `cellularity` the share of marrow that is red, `u_share_percent` the relative standard
    uncertainty of their product. `blood`: a csv of samples (`time_h, bq_per_ml`, `u_bq_per_ml` if known), from the
    working folder; with it `hematocrit`, from which the ratio of concentrations in marrow and blood follows, or that
    `blood_ratio` itself; `u_blood_ratio_percent` is its relative standard uncertainty. Both uncertainties are assumed
    where they are not given. `mass_g`: of all red marrow; null: concentrations and doses alone.
    """

    structure: str | None = None
    marrow_volume_fraction: float | None = Field(default=None, gt=0, le=1)
    cellularity: float | None = Field(default=None, gt=0, le=1)
    u_share_percent: float = Field(default=20.0, ge=0, le=100)
    blood: str | None = None
    hematocrit: float | None = Field(default=None, gt=0, lt=1)
    blood_ratio: float | None = Field(default=None, gt=0, le=10)
    u_blood_ratio_percent: float = Field(default=20.0, ge=0, le=100)
    mass_g: float | None = Field(default=None, gt=0, le=5000)

    @model_validator(mode="after")
    def _complete(self) -> "RedMarrowSettings":
        if self.structure is None and self.blood is None:
            raise ValueError("red marrow needs 'structure' (of the spine), 'blood' (a table of samples), or both")
        if self.structure is not None and (self.marrow_volume_fraction is None or self.cellularity is None):
            raise ValueError("with 'structure' both marrow_volume_fraction and cellularity are wanted: none is assumed")
        if self.blood is not None and (self.hematocrit is None) == (self.blood_ratio is None):
            raise ValueError("with 'blood' either hematocrit or blood_ratio is wanted: none is assumed")
        return self


class MetricsSettings(Settings):
    """What is said of the dose of a structure.

    `volume_at_gy`: the doses x of V_x, the share of a structure that receives at least x. `dose_at_ml`: the volumes x
    of D_x cc, the largest dose that at least x mL receive. `geud_a`: the exponent of gEUD by structure.
    `isodose_gy` and `isodose_percent` (of the maximum within the body): the doses whose volumes isodoses.csv states.
    `derived`: structures made of those drawn, or balls, by their names. `red_marrow`: null: not looked for.
    """

    volume_at_gy: tuple[float, ...] = (2.0, 5.0, 10.0, 20.0)
    dose_at_ml: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ()
    geud_a: dict[str, Annotated[float, Field(ge=-100, le=100)]] = Field(default_factory=dict)
    isodose_gy: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ()
    isodose_percent: tuple[Annotated[float, Field(gt=0, le=100)], ...] = (20.0, 50.0, 80.0, 95.0)
    derived: dict[str, DerivedSettings] = Field(default_factory=dict)
    red_marrow: RedMarrowSettings | None = None
    radiobiology: RadiobiologySettings = RadiobiologySettings()

    @field_validator("geud_a")
    @classmethod
    def _not_zero(cls, exponents: dict[str, float]) -> dict[str, float]:
        if 0 in exponents.values():
            raise ValueError("gEUD needs an exponent other than 0; 1 is the mean")
        return exponents


DicomObject = Literal["rtdose", "rtstruct", "seg", "propagated", "reg", "maps", "sr"]


class OutputSettings(Settings):
    """`dicom`: DICOM objects always, never, or when the reference came from DICOM; `dicom_objects` says which.

    `rtdose`: the dose with its histograms. `rtstruct`, `seg`: the structures. `propagated`: the same on every other
    scan, as SEG. `reg`: the registrations. `maps`: time-integrated activity, effective half-life and the uncertainty of
    the dose. `sr`: the numbers of the structures as a structured report, which comes with `seg`.
    `tables`: `xlsx` writes tables.xlsx beside the csv files (openpyxl).
    """

    tables: Literal["csv", "xlsx"] = "csv"
    dicom: Literal["auto", "always", "never"] = "auto"
    dicom_objects: tuple[DicomObject, ...] = ("rtdose", "rtstruct", "seg", "propagated", "reg", "maps", "sr")


class ReportSettings(Settings):
    """Who answers for the numbers, for the head of the report: `site` and `operator`; null: what the study says."""

    site: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    operator: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class DosimetrySettings(Settings):
    """Everything a patient run can be told."""

    registration: RegistrationSettings = RegistrationSettings()
    kinetics: KineticsSettings = KineticsSettings()
    recovery: RecoverySettings = RecoverySettings()
    dose: DoseSettings = DoseSettings()
    uncertainty: UncertaintySettings = UncertaintySettings()
    metrics: MetricsSettings = MetricsSettings()
    output: OutputSettings = OutputSettings()
    report: ReportSettings = ReportSettings()


def load_settings(path: Path | None, overrides: Iterable[str] = ()) -> DosimetrySettings:
    """The settings of a YAML file (or the defaults) with `key=value` overrides on top."""
    content: dict[str, Any] = read_yaml(path) if path else {}
    return build(DosimetrySettings, with_overrides(content, overrides), where=path or "--set")
