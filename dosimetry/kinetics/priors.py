"""What is known of a structure's rates before it is scanned: published half-lives by tracer, wide ones otherwise.

ln λ_bio of every phase is normal (`RatePrior`), so that the biological half-life T_bio = ln 2/λ_bio has a median and a
spread, the factor of one standard deviation. A published effective half-life gives T_bio = T_p T_eff/(T_p - T_eff).
Spreads are wider than reported ones (weakly informative): they shall decide only what the scans leave open.
`CurvePrior.source` says where each comes from, and `verified` whether that source was read for this table.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from dosimetry.kinetics.models import LN2, MODELS
from dosimetry.kinetics.rate_prior import RatePrior
from nufitdose.errors import InputError

EVEN: Mapping[str, float] = dict.fromkeys(MODELS, 1.0 / len(MODELS))
# Nothing is in a lesion when the tracer is given, and it fills for hours (chosen here); three of four thyroids hold
# more at 24 h than at 4 h (PMC5557855). In other organs uptake is over soon, and models without it describe the same.
UPTAKE_SEEN: Mapping[str, float] = {"mono": 1 / 30, "f3": 0.45, "f3a": 1 / 30, "bi": 1 / 30, "tri": 0.45}
# All of the tracer is in the body when it is given, and part of it in what no structure holds: nothing fills from zero,
# unless it enters the view (chosen here).
NO_UPTAKE_SEEN: Mapping[str, float] = {"mono": 0.3, "f3": 0.05, "f3a": 0.3, "bi": 0.3, "tri": 0.05}
# All of the tracer is in the blood when it is given, and leaves it at first faster than it comes back (chosen here).
LEAVING: Mapping[str, float] = {"mono": 0.05, "f3": 0.025, "f3a": 0.05, "bi": 0.85, "tri": 0.025}
EVEN_ODDS = (0.0, 1.2)  # chosen here: a phase holds 0.09 to 0.91 of the curve in 95 %, 0.01 to 0.99 in all
LEAST_SPREAD = 1.1  # no earlier fit or population tells a rate of today better than to 10 %


def half_life_prior(median_h: float, spread: float) -> RatePrior:
    """The prior of a rate whose biological half-life has this median, h, and factor of one standard deviation."""
    if not (np.isfinite(median_h) and median_h > 0 and spread > 1):
        raise InputError(
            f"a half-life of {median_h} h with spread {spread} was given, wanted a positive one and a spread above 1"
        )
    return RatePrior(float(np.log(LN2 / median_h)), float(np.log(spread)))


def biological_half_life_h(teff_h: float, half_life_h: float) -> float:
    """T_bio = T_p T_eff/(T_p - T_eff); `InputError` unless 0 < T_eff < T_p."""
    if not 0 < teff_h < half_life_h:
        raise InputError(
            f"an effective half-life of {teff_h} h was given, wanted one below the physical {half_life_h:.6g} h"
        )
    return half_life_h * teff_h / (half_life_h - teff_h)


@dataclass(frozen=True)
class CurvePrior:
    """Priors of the three kinds of rates: the last clearance, an earlier faster clearance, and uptake.

    `weights` are the probabilities of the models beforehand, `early_odds` mean and deviation of ln α/(1 - α), α the
    part of the curve at time 0 that its early phase holds.
    """

    name: str
    clearance: RatePrior
    early: RatePrior
    uptake: RatePrior
    source: str
    verified: bool = False
    weights: Mapping[str, float] = field(default_factory=lambda: EVEN)
    early_odds: tuple[float, float] = EVEN_ODDS

    def with_clearance(self, teff_h: Iterable[float], half_life_h: float, source: str) -> "CurvePrior":
        """This prior with the last clearance told by effective half-lives, h, of a population or of earlier cycles.

        Median and spread are those of ln T_bio of the values, the spread of the mean added for few of them; a single
        value, as of one earlier cycle, gets the spread of `ONE_EARLIER`.
        """
        ln_h = np.log([biological_half_life_h(t, half_life_h) for t in teff_h])
        if not ln_h.size:
            raise InputError("no half-lives were given for a prior")
        spread = float(np.exp(ln_h.std(ddof=1) * np.sqrt(1 + 1 / ln_h.size))) if ln_h.size > 1 else ONE_EARLIER
        rate = half_life_prior(float(np.exp(ln_h.mean())), max(spread, LEAST_SPREAD))
        return replace(self, clearance=rate, source=f"{source}; uptake and early phase: {self.source}")


# T_bio of one earlier cycle against today's: chosen here; PMC6300448 finds 2 to 13 % in kidney doses, in tumours more.
ONE_EARLIER = 1.4
# Elimination from blood 10.8 ± 2.5 h (Lu-177-PSMA-617, PMC5472088), the body's iodide T_eff 10 to 16 h (Remy 2008,
# doi:10.2967/jnumed.108.052464); what leaves an organ early leaves it with the blood, or somewhat before or after.
_EARLY = half_life_prior(10.0, 3.0)
# 1.3/h (VRAK, doi:10.1118/1.4824318), 0.6 to 1.1/h (challenge patient, doi:10.7302/864r-tb45); spread chosen here.
_ORGAN_UPTAKE = half_life_prior(0.8, 4.0)
# Lesions have most activity 4 to 24 h after administration, as recalled from Lu-177-PSMA and -DOTATATE (unverified).
_TUMOUR_UPTAKE = half_life_prior(3.0, 3.0)
# Iodide leaves the transfer compartment with 6 h (ICRP Publication 30, as recalled, unverified).
_IODIDE_UPTAKE = half_life_prior(6.0, 2.0)
# A small hydrophilic tracer is filtered out of the water outside cells, T = ln 2 · water/filtration: 12.4 ± 2.0 L per
# 1.73 m² of adults (doi:10.1042/cs0980439), and 103 ± 15 mL/min up to 40 years, 0.91 less a year from then on, ± 14
# (live donors, doi:10.1097/00006231-200501000-00010; both read as abstracts): 1.8 h at 65 years within a factor 1.3.
# 2.1 h within 1.5 for patients, who filter less than donors, and for what proteins hold and tissue takes up (chosen
# here): 1.4 h at 103 mL/min and 2.9 h at 50 mL/min are one deviation off.
_FILTERED = half_life_prior(2.1, 1.5)
# What is given is 7 %/L of that water at first; later scans of blood see 0.1 to 1 %/L (as recalled, unverified).
_MOSTLY_EARLY = (3.0, 1.2)
_UNKNOWN = "chosen here: T_bio 80 h within a factor 4, uptake 1.5 h within a factor 4"
_HAENSCHEID = "T_eff 51, 67, 77 h of kidneys, liver and spleen, tumours (Hänscheid 2018, doi:10.2967/jnumed.117.193706)"
_PSMA_ORGANS = "median T_eff of 20 patients, Lu-177-PSMA-617 (AAPM 2026, abstract 2620)"

WIDE = CurvePrior("wide", half_life_prior(80.0, 4.0), _EARLY, half_life_prior(1.5, 4.0), _UNKNOWN)
WIDE_ORGAN = replace(WIDE, name="wide, organ", uptake=_ORGAN_UPTAKE, source="chosen here: T_bio 80 h within a factor 4")
WIDE_TUMOUR = CurvePrior("wide, tumour", WIDE.clearance, _EARLY, _TUMOUR_UPTAKE, WIDE_ORGAN.source, weights=UPTAKE_SEEN)
WIDE_BLOOD = replace(WIDE_ORGAN, name="wide, blood", weights=LEAVING, early_odds=_MOSTLY_EARLY)
WIDE_BODY = replace(WIDE_ORGAN, name="wide, body", weights=NO_UPTAKE_SEEN)


def _organ(name: str, median_h: float, spread: float, source: str, verified: bool = False) -> CurvePrior:
    return CurvePrior(name, half_life_prior(median_h, spread), _EARLY, _ORGAN_UPTAKE, source, verified)


def _tumour(name: str, median_h: float, spread: float, source: str) -> CurvePrior:
    return CurvePrior(name, half_life_prior(median_h, spread), _EARLY, _TUMOUR_UPTAKE, source, weights=UPTAKE_SEEN)


def _iodide(name: str, median_h: float, spread: float, source: str, verified: bool = False) -> CurvePrior:
    prior = half_life_prior(median_h, spread)
    return CurvePrior(name, prior, _EARLY, _IODIDE_UPTAKE, source, verified, weights=UPTAKE_SEEN)


_IODIDE: Mapping[str, CurvePrior] = {
    "thyroid": _iodide(
        "iodide thyroid", 190.0, 2.5, "T_eff 2 to 8 d held plausible (Krohn, 1538 patients)", verified=True
    ),
    "remnant": _iodide("iodide remnant", 82.0, 2.5, "T_eff 48 and 68 h (Hänscheid 2006, PMID 16595499)"),
    "tumour": _iodide("iodide metastasis", 82.0, 3.0, "as remnants (Hänscheid 2006, PMID 16595499)"),
}
# By tracer (a part of its name, lower case), then by structure (a part of its name).
PUBLISHED: Mapping[str, Mapping[str, CurvePrior]] = {
    "dota": {
        "kidney": _organ("DOTATATE kidney", 75.0, 2.0, _HAENSCHEID),
        "liver": _organ("DOTATATE liver", 115.0, 2.0, _HAENSCHEID),
        "spleen": _organ("DOTATATE spleen", 115.0, 2.0, _HAENSCHEID),
        "tumour": _tumour("DOTATATE tumour", 149.0, 2.5, _HAENSCHEID),
    },
    "psma": {
        "kidney": _organ("PSMA kidney", 46.0, 2.5, _PSMA_ORGANS, verified=True),
        "liver": _organ("PSMA liver", 27.0, 2.5, _PSMA_ORGANS, verified=True),
        "spleen": _organ("PSMA spleen", 19.0, 2.5, _PSMA_ORGANS, verified=True),
        "parotid": _organ("PSMA parotid", 57.0, 2.5, _PSMA_ORGANS, verified=True),
        "salivary": _organ("PSMA salivary gland", 57.0, 2.5, _PSMA_ORGANS, verified=True),
        "tumour": _tumour("PSMA tumour", 80.0, 2.5, "T_eff about 50 to 60 h, as recalled"),
    },
    "nai": _IODIDE,
    "iodide": _IODIDE,
}


def _blood(name: str, median_h: float) -> CurvePrior:
    source = f"terminal half-life {median_h:g} h (its label, as recalled), before it filtration by the kidneys"
    return replace(WIDE_BLOOD, name=name, clearance=half_life_prior(median_h, 2.5), early=_FILTERED, source=source)


# Of structures that hold blood, known by a part of their name: by tracer, as above.
BLOOD: Mapping[str, CurvePrior] = {"dota": _blood("DOTATATE blood", 71.0), "psma": _blood("PSMA blood", 42.0)}
_BLOOD_POOLS = ("blood", "heart", "aorta", "vena_", "vein", "artery", "atrium", "atrial", "pulmonary_trunk")

TRACERS = ("DOTATATE", "DOTATOC", "PSMA-617", "PSMA-I&T", "NaI")  # names that can be given; each finds its part above


def tracer_named(name: str) -> str:
    """One of `TRACERS`, in any case and with or without its nuclide ("Lu-177-PSMA-617"); `InputError` otherwise."""
    bare = re.sub(r"^[a-z]{1,2}-\d+m?-", "", name.lower())
    known = {tracer.lower(): tracer for tracer in TRACERS}
    if bare not in known:
        near = difflib.get_close_matches(bare, known, 1)
        hint = f"Did you mean {known[near[0]]!r}? " if near else ""
        raise InputError(
            f"no half-lives are known for the tracer {name!r}",
            remedy=f"{hint}Known: {', '.join(TRACERS)}; leave it out (null) for the wide prior",
        )
    return known[bare]


# Words by which headers and study folders name a tracer; brand and generic names too.
_WORDS = (
    (r"psma[- ]?i\s?(&|and)\s?t\b|zadavotide", "PSMA-I&T"),
    (r"psma|vipivotide|pluvicto", "PSMA-617"),
    (r"dotatoc|edotreotide", "DOTATOC"),
    (r"dotatate|oxodotreotide|lutathera", "DOTATATE"),
    (r"iodide|\bnai\b", "NaI"),
)


def tracer_in(text: str) -> str | None:
    """The one of `TRACERS` that a radiopharmaceutical's name means ("Lutetium Lu-177 dotatate"); None for others."""
    return next((tracer for word, tracer in _WORDS if re.search(word, text.lower())), None)


def find_prior(tracer: str, structure: str, *, tumour: bool = False) -> CurvePrior:
    """The published prior of a structure for a tracer such as "I-131-NaI"; a wide one where none is known.

    Structures that hold blood ("heart", "aorta") have priors of their own.
    """
    asked, known = "tumour" if tumour else structure.lower(), tracer.lower()
    if not tumour and any(pool in asked.replace(" ", "_") for pool in _BLOOD_POOLS):
        return next((prior for part, prior in BLOOD.items() if part in known), WIDE_BLOOD)
    for part, structures in PUBLISHED.items():
        if part in known:
            for name, prior in structures.items():
                if name in asked:
                    return prior
    return WIDE_TUMOUR if tumour else WIDE_ORGAN
