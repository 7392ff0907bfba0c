"""A structure's budget: parts that err independently of each other, each with its effect on Ã and on the mean dose.

One part is one cause. A cause that moves several factors (an outline moves counts, recovery and mass) enters with its
whole effect on each result, so that covariances between the factors are in it and the parts themselves add in squares.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from scipy.special import ndtri

Pair = tuple[float, float]


class Source(StrEnum):
    """Where the size of a part is from."""

    MEASURED = "measured"
    DESCRIBED = "described"
    ASSUMED = "assumed"


@dataclass(frozen=True)
class Part:
    """One cause: what one standard deviation of it does to Ã and to the mean dose, relative and signed.

    `basis` says in words what the number rests on.
    """

    name: str
    tia: float
    dose: float
    source: Source
    basis: str = ""


@dataclass(frozen=True)
class Budget:
    """All parts of one structure."""

    parts: tuple[Part, ...]

    @property
    def relative_u_tia(self) -> float:
        """u(Ã)/Ã."""
        return math.sqrt(sum(part.tia**2 for part in self.parts))

    @property
    def relative_u_dose(self) -> float:
        """u(D)/D of the mean dose."""
        return math.sqrt(sum(part.dose**2 for part in self.parts))

    @property
    def relative_u_voxels(self) -> float:
        """What all voxels of the structure have in common of u(D)/D: all but noise and volume.

        Noise each voxel has of its own; an outline does not change the dose of a voxel within it.
        """
        return math.sqrt(sum(part.dose**2 for part in self.parts if part.name not in (NOISE, VOLUME)))

    @property
    def assumed(self) -> tuple[str, ...]:
        """Names of the parts that are assumed and matter, the largest first."""
        guessed = [part for part in self.parts if part.source is Source.ASSUMED and part.dose]
        return tuple(part.name for part in sorted(guessed, key=lambda part: -abs(part.dose)))

    def shares(self) -> Iterator[tuple[Part, float]]:
        """Every part with its share of u(D)²."""
        whole = sum(part.dose**2 for part in self.parts)
        return ((part, part.dose**2 / whole if whole else 0.0) for part in self.parts)


CURVE, NOISE, RECOVERY, VOLUME = "curve and model", "counting noise", "recovery", "volume"
ENGINE = "dose engine"
NOT_KNOWN = "not known"  # the basis of a part that nobody looked at


def interval(value: float, relative_u: float, level: float) -> Pair:
    """The central interval of a log-normal quantity of median `value`: value e^(±z s), s² = ln(1 + u²).

    Where u is small that is value (1 ± z u); where it is large the lower end stays above zero.
    """
    spread = float(ndtri(0.5 + 0.5 * level)) * math.sqrt(math.log1p(relative_u**2))
    return value * math.exp(-spread), value * math.exp(spread)
