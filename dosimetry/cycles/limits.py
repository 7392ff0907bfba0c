"""Limits that a therapy board has stated, and how much of each is used."""

from collections.abc import Sequence
from dataclasses import dataclass

from dosimetry.cycles.adding import Sum
from dosimetry.metrics.tissues import PUBLISHED, entry_of
from nufitdose.errors import InputError

QUANTITIES = ("dose", "bed", "eqd2")


@dataclass(frozen=True)
class Limit:
    """So many Gy of mean dose, BED or EQD2, for a structure or for all kidneys, livers or tumours."""

    structure: str
    quantity: str
    limit_gy: float

    def applies_to(self, structure: str, role: str) -> bool:
        """Whether it is of this structure, by its name or by its entry in the table of tissues."""
        return self.structure in (structure, entry_of(structure, role))

    def share_percent(self, found: Sum) -> tuple[float, float]:
        """The share of the limit that the sum is, and its standard uncertainty."""
        value, u = getattr(found, f"{self.quantity}_mean_gy"), getattr(found, f"u_{self.quantity}_mean_gy")
        return 100.0 * value / self.limit_gy, 100.0 * u / self.limit_gy


def read_limits(texts: Sequence[str]) -> tuple[Limit, ...]:
    """Limits as `kidney.bed=40`. Raises `InputError` on anything else."""
    found = []
    for text in texts:
        name, _, value = text.partition("=")
        structure, _, quantity = name.rpartition(".")
        try:
            limit_gy = float(value)
        except ValueError:
            limit_gy = 0.0
        if not structure or quantity not in QUANTITIES or not 0 < limit_gy < float("inf"):
            raise InputError(
                f"--limit {text!r} was given, STRUCTURE.QUANTITY=GY is wanted, as kidney.bed=40",
                remedy=f"Quantities: {', '.join(QUANTITIES)}",
            )
        found.append(Limit(structure, quantity, limit_gy))
    return tuple(found)


def check_limits(limits: Sequence[Limit], roles: dict[str, str]) -> None:
    """Raise `InputError` where a limit is of no structure here."""
    for limit in limits:
        if not any(limit.applies_to(name, role) for name, role in roles.items()):
            raise InputError(
                f"--limit names {limit.structure!r}, which no cycle has",
                remedy=f"Known here: {', '.join(roles)}; and of all such: {', '.join(PUBLISHED)}",
            )
