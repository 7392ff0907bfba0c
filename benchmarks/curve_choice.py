"""Bias and intervals of the integral from few scans, beside mono and AICc: python -m benchmarks.curve_choice [trials].

Truths are sums of exponentials of known integral, points get independent noise of 5 %. The seeds, 56000 and up, are
those of the published table and served nothing else; docs/explanation/few_scans.md says what was set after a look at
the cases.
"""

import sys
import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dosimetry.curves.methods import find_method
from dosimetry.curves.points import OrganPoints
from dosimetry.kinetics import choose_model, fit_organ
from dosimetry.kinetics.priors import WIDE, find_prior
from nufitdose import kinetics
from nufitdose.nuclides import half_life_h

PROTOCOLS = ((4.0, 24.0, 72.0), (24.0, 72.0, 168.0), (4.0, 24.0, 72.0, 168.0), (5.0, 48.0, 120.0), (24.0, 96.0))
NOISE = 0.05
FAR = 0.2  # an error beyond this wants a red light
TELLS_POINTS = 0.01  # u of points better than any
LN2 = np.log(2.0)


@dataclass(frozen=True)
class Truth:
    """(amplitude, effective half-life h) of the clearing phases; effective half-life of uptake, h, or 0 for none."""

    name: str
    nuclide: str
    tracer: str
    structure: str
    phases: tuple[tuple[float, float], ...]
    uptake_h: float = 0.0

    @property
    def terms(self):
        """Amplitudes and rates, 1/h."""
        amplitudes, half_lives = (list(x) for x in zip(*self.phases, strict=True))
        if self.uptake_h:
            amplitudes, half_lives = [*amplitudes, -sum(amplitudes)], [*half_lives, self.uptake_h]
        return np.array(amplitudes), LN2 / np.array(half_lives)

    @property
    def tia(self):
        return float(kinetics.integral(*self.terms))

    @property
    def prior(self):
        return find_prior(self.tracer, self.structure, tumour="tumour" in self.structure)


def _lu(name, tracer, structure, phases, uptake_h=0.0):
    return Truth(name, "Lu-177", f"Lu-177-{tracer}", structure, phases, uptake_h)


def _iodine(name, structure, teff_h, uptake_h):
    return Truth(name, "I-131", "I-131-NaI", structure, ((100.0, teff_h),), uptake_h)


TRUTHS = (
    _lu("PSMA kidney", "PSMA", "kidney_left", ((100.0, 40.0),), 1.5),
    *(_lu(f"PSMA tumour, uptake {h} h", "PSMA", "tumour_1", ((100.0, 55.0),), float(h)) for h in (2, 6, 12)),
    _lu("DOTATATE kidney", "DOTATATE", "kidney_left", ((100.0, 51.0),), 0.5),
    _lu("DOTATATE liver", "DOTATATE", "liver", ((100.0, 67.0),), 1.0),
    _lu("DOTATATE tumour", "DOTATATE", "tumour_1", ((100.0, 77.0),), 3.0),
    _iodine("I-131 thyroid, 70 h", "thyroid", 70.0, 5.0),
    _iodine("I-131 thyroid, 130 h", "thyroid", 130.0, 5.0),
    _iodine("I-131 metastasis", "tumour_1", 60.0, 8.0),
    _lu("two-phase kidney", "DOTATATE", "kidney_left", ((50.0, 12.0), (60.0, 60.0))),
    _lu("two-phase liver", "DOTATATE", "liver", ((60.0, 15.0), (40.0, 100.0))),
)


def random_truth(rng):
    """A truth from broad flat distributions that are not those of the priors; the wide prior is used for it."""
    nuclide = ("Lu-177", "I-131")[rng.integers(2)]
    physical_h = physical(nuclide)
    teff_h = np.exp(rng.uniform(np.log(15.0), np.log(0.97 * physical_h)))
    phases = [(100.0, teff_h)]
    if rng.random() < 0.5:
        share = rng.uniform(0.1, 0.8)
        biological_h = np.exp(rng.uniform(np.log(2.0), np.log(30.0)))
        early_h = min(1.0 / (1.0 / biological_h + 1.0 / physical_h), 0.5 * teff_h)
        phases = [(100.0 * (1.0 - share), teff_h), (100.0 * share, early_h)]
    fastest_h = min(half_life for _, half_life in phases)
    uptake_h = np.exp(rng.uniform(np.log(0.05), np.log(min(15.0, 0.5 * fastest_h))))
    tumour = rng.random() < 0.5
    return Truth("random", nuclide, "unknown", "tumour_1" if tumour else "organ", tuple(phases), uptake_h)


@lru_cache
def physical(nuclide):
    return half_life_h(nuclide)


def points(truth, protocol, rng=None):
    """Activity at the scans, with 5 % noise where a generator is given."""
    clean = kinetics.value(*truth.terms, np.array(protocol))
    return clean if rng is None else clean * (1.0 + NOISE * rng.normal(size=clean.size))


def fit(truth, protocol, y, u=NOISE, prior=None):
    """The curve as the patient run has it by default."""
    given = OrganPoints(np.array(protocol), y, physical(truth.nuclide), u * y, prior=prior or truth.prior)
    return find_method("auto").organ(given)


def telling(truth, protocol):
    """Whether the protocol tells Ã: "yes"; "noise" where points known to 1 % would, "times" where even those do not.

    It does where true points get no red light: where 95 % of the curves that agree with them integrate to within 20 %.
    """
    for u, answer in ((NOISE, "yes"), (TELLS_POINTS, "noise")):
        if not fit(truth, protocol, points(truth, protocol), u).red:
            return answer
    return "times"


def measure(truth, protocol, y, prior=None):
    """Relative error, whether 68 % and 95 % intervals hold the truth, red, u/Ã."""
    found = fit(truth, protocol, y, prior=prior)
    (low, high), (low_95, high_95) = found.tia_68_mbq_h, found.tia_95_mbq_h
    covered = low <= truth.tia <= high, low_95 <= truth.tia <= high_95
    return (found.tia_mbq_h / truth.tia - 1.0, *covered, bool(found.red), found.u_tia_mbq_h / found.tia_mbq_h)


def trials(truth, protocol, count, seed, prior=None):
    rng = np.random.default_rng(seed)
    return np.array([measure(truth, protocol, points(truth, protocol, rng), prior) for _ in range(count)], dtype=float)


def others(truth, protocol):
    """Errors of mono and of the choice by AICc on noise-free points."""
    y, half_life = points(truth, protocol), physical(truth.nuclide)
    mono = fit_organ(np.array(protocol), y, half_life, u_activity_mbq=NOISE * y).tia_mbq_h
    chosen = choose_model(np.array(protocol), y, half_life, u_activity_mbq=NOISE * y).fit.tia_mbq_h
    return mono / truth.tia - 1.0, chosen / truth.tia - 1.0


def row(name, protocol, result, before=None, tells=""):
    error, in_68, in_95, red, u = result.T
    silent = ((np.abs(error) > FAR) & (red == 0)).mean()
    peers = f"{before[0]:+7.0%}{before[1]:+7.0%}" if before else " " * 14
    print(
        f"{name:25}{'/'.join(f'{t:.0f}' for t in protocol):14}{peers}{np.median(error):+8.1%}{error.std():7.1%}"
        f"{np.median(u):7.1%}{in_68.mean():7.2f}{in_95.mean():6.2f}{red.mean():7.2f}{silent:8.3f}  {tells}",
        flush=True,
    )


def main(count):
    head = f"{'truth':25}{'scans, h':14}{'mono':>7}{'AICc':>7}{'median':>8}{'sd':>7}{'u':>7}{'68 %':>7}{'95 %':>6}"
    print(f"{head}{'red':>7}{'silent':>8}  tells")
    everything, wide = [], []
    for number, truth in enumerate(TRUTHS):
        for order, protocol in enumerate(PROTOCOLS):
            seed = 56_000 + 10 * number + order
            result = trials(truth, protocol, count, seed)
            row(truth.name, protocol, result, others(truth, protocol), telling(truth, protocol))
            everything.append(result)
            wide.append(trials(truth, protocol, max(count // 4, 2), seed + 500, WIDE))
    print("all of the above by protocol, priors of the tracer; then all; then the wide prior for every one")
    for order, protocol in enumerate(PROTOCOLS):
        row("all", protocol, np.vstack(everything[order :: len(PROTOCOLS)]))
    row("all", (), np.vstack(everything))
    row("all, wide prior", (), np.vstack(wide))
    print("kinetics drawn at random from broad distributions, wide prior of organs and tumours")
    drawn = []
    for order, protocol in enumerate(PROTOCOLS):
        rng = np.random.default_rng(57_000 + order)
        truths = [random_truth(rng) for _ in range(4 * count)]
        drawn.append(np.array([measure(t, protocol, points(t, protocol, rng)) for t in truths], dtype=float))
        row("random", protocol, drawn[-1])
    row("random", (), np.vstack(drawn))
    start = time.process_time()
    for _ in range(20):
        fit(TRUTHS[0], PROTOCOLS[2], points(TRUTHS[0], PROTOCOLS[2]))
    print(f"{(time.process_time() - start) / 20 * 1e3:.0f} ms of one core for a structure with four scans")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
