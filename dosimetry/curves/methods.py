"""The curve methods by name: what each needs, its organ form, its voxel form, and what it says of itself.

A curve method is what the user chooses in `kinetics.model`; a model is a function of time with parameters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dosimetry.curves import fits, rules
from dosimetry.curves.points import OrganPoints, VoxelPoints
from dosimetry.kinetics import AveragedCurve, FitStatus, ModelChoice, OrganFit, VoxelFit
from nufitdose.registry import find_by_name


@dataclass(frozen=True, eq=False)
class CurveMethod:
    """One way to a time-activity curve.

    `voxels` None: voxels take the model that was chosen for their structure, or that leads its average. `model` is the
    model that voxels can be guided with, None for a rule. `statuses` are the codes of voxels that got what the method
    promises. `sentence` stands in the report, with {where}, {how} (fitted or solved) and {half_lives} filled in;
    `reference` (text, DOI) is listed there.
    """

    name: str
    fewest_scans: int
    organ: Callable[[OrganPoints], OrganFit | ModelChoice | AveragedCurve]
    voxels: Callable[[VoxelPoints], VoxelFit] | None
    statuses: frozenset[FitStatus] = frozenset()
    sentence: str = ""
    model: str | None = None
    one_scan_only: bool = False
    needs_half_life: bool = False
    reference: tuple[str, str] | None = None

    def chooses(self, scans: int) -> bool:
        """Whether the model of a structure with so many scans may be chosen by the corrected Akaike criterion."""
        return self.organ is fits.organ_by_aicc or (self.by_number and scans > fits.FEW)

    @property
    def averages(self) -> bool:
        """Whether a structure's curve may be averaged over models by marginal likelihood."""
        return self.organ is fits.organ_by_average or self.by_number

    @property
    def by_number(self) -> bool:
        """Whether the number of scans decides what is done."""
        return self.organ is fits.organ_by_number_of_points

    @property
    def fixed_model(self) -> bool:
        """Whether one model, named beforehand, is fitted to structures and voxels."""
        return self.model is not None and self.organ is not fits.organ_by_aicc


def _fit_method(model: str, fewest_scans: int, words: str, *statuses: FitStatus) -> CurveMethod:
    sentence = f"{{where}} {words} was {{how}} and integrated to infinity."
    forms = fits.organ_by(model), fits.voxels_by(model)
    return CurveMethod(model, fewest_scans, *forms, frozenset(statuses), sentence, model)


def _one_scan_method(name: str, status: FitStatus, sentence: str, reference: tuple[str, str] | None) -> CurveMethod:
    return CurveMethod(
        name,
        fewest_scans=1,
        organ=lambda points: rules.organ_from_one_scan(name, points),
        voxels=lambda points: rules.voxels_from_one_scan(name, points),
        statuses=frozenset({status}),
        sentence=sentence,
        one_scan_only=True,
        needs_half_life=name == "population",
        reference=reference,
    )


_HAENSCHEID_2018 = (
    "Hänscheid H, Lapa C, Buck AK, Lassmann M, Werner RA. Dose mapping after endoradiotherapy with "
    "177Lu-DOTATATE/DOTATOC by a single measurement after 4 days. J Nucl Med 2018;59:75–81.",
    "10.2967/jnumed.117.193706",
)
_HOETING_1999 = (
    "Hoeting JA, Madigan D, Raftery AE, Volinsky CT. Bayesian model averaging: a tutorial. Stat Sci 1999;14:382–417.",
    "10.1214/ss/1009212519",
)
_MADSEN_2018 = (
    "Madsen MT, Menda Y, O'Dorisio TM, O'Dorisio MS. Single time point dose estimate for exponential clearance. "
    "Med Phys 2018;45:2318–2324.",
    "10.1002/mp.12886",
)

#: The methods by name, in the order in which messages list them. `fewest_scans` is the number of parameters, but for
#: "aicc_voxel" (voxels have no known σ, so AICc compares models from six points on) and "bayes" (priors stand in).
METHODS: Mapping[str, CurveMethod] = {
    method.name: method
    for method in (
        CurveMethod("auto", 1, fits.organ_by_number_of_points, None, reference=_HOETING_1999),
        CurveMethod("bayes", 2, fits.organ_by_average, None, reference=_HOETING_1999),
        CurveMethod("aicc", 2, fits.organ_by_aicc, None),
        _fit_method(
            "mono",
            2,
            "a mono-exponential with non-negative amplitude and an effective half-life not above the physical one",
            FitStatus.MONO,
            FitStatus.MONO_AT_PHYSICAL,
            FitStatus.GUIDED,
        ),
        CurveMethod(
            "trapezoid",
            2,
            rules.organ_by_trapezoid,
            rules.voxels_by_trapezoid,
            frozenset({FitStatus.TRAPEZOID}),
            "{where} activity was integrated linearly from zero at administration and between the points (trapezoids), "
            "with physical decay after the last.",
        ),
        _fit_method(
            "f3",
            3,
            "a curve of uptake and clearance from zero at administration (f3)",
            FitStatus.UPTAKE_CLEARANCE,
            FitStatus.GUIDED_TWO_RATES,
        ),
        _fit_method(
            "f3a",
            3,
            "a clearing exponential and a retained part with physical decay (f3a)",
            FitStatus.CLEARANCE_RETENTION,
            FitStatus.GUIDED_TWO_RATES,
        ),
        _fit_method("bi", 4, "a sum of two clearing exponentials", FitStatus.BI, FitStatus.GUIDED_TWO_RATES),
        CurveMethod(
            "aicc_voxel",
            6,
            fits.organ_by_aicc,
            fits.voxels_by("aicc"),
            sentence="{where} the one of mono, f3, f3a and bi with the least corrected Akaike criterion in the voxel "
            "itself was {how} and integrated to infinity.",
            model="aicc",
        ),
        _one_scan_method(
            "physical",
            FitStatus.ONE_POINT,
            "{where} physical decay through the one measurement was integrated to infinity.",
            None,
        ),
        _one_scan_method(
            "haenscheid",
            FitStatus.HAENSCHEID,
            "{where} the time-integrated activity was taken as 2 t A(t)/ln 2 from the one scan (Hänscheid 2018).",
            _HAENSCHEID_2018,
        ),
        _one_scan_method(
            "population",
            FitStatus.POPULATION,
            "{where} the one measurement was integrated with the effective half-life of a population (Madsen 2018): "
            "{half_lives}.",
            _MADSEN_2018,
        ),
    )
}

#: Codes of voxels through which a decaying curve was fitted; the others got a rule. Organs alone have `TRI`.
FITTED_STATUSES = frozenset[FitStatus]({FitStatus.TRI}).union(
    *(method.statuses for method in METHODS.values() if method.model)
)


def find_method(name: str) -> CurveMethod:
    """One of `METHODS`; raises `InputError` on an unknown name."""
    return find_by_name("curve method", name, METHODS)


def methods_for(scans: int) -> list[str]:
    """The names of the methods that so many scans can be given to."""
    if scans == 1:
        return ["auto", *(name for name, method in METHODS.items() if method.one_scan_only)]
    return [name for name, method in METHODS.items() if not method.one_scan_only and method.fewest_scans <= scans]
