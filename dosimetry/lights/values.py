"""A light, and the worst of several."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a light stands; the value is its word in the report, `colour` that in tables."""

    GOOD = "within guide"
    LOOK = "outside guide"
    BAD = "far outside"
    UNKNOWN = "not known"

    @property
    def colour(self) -> str:
        """The light as a word for tables and terminals."""
        return {State.GOOD: "green", State.LOOK: "amber", State.BAD: "red", State.UNKNOWN: "grey"}[self]


_ORDER = (State.GOOD, State.UNKNOWN, State.LOOK, State.BAD)


@dataclass(frozen=True)
class Light:
    """One line of the list: what was found, and the guide value behind the state."""

    topic: str
    state: State
    found: str
    guide: str

    @property
    def sentence(self) -> str:
        """Topic and finding; that all is well where it is."""
        return "nothing outside the guide values" if self.state is State.GOOD else f"{self.topic}: {self.found}"


def graded(value: float, good: float, bad: float) -> State:
    """Good up to `good`, bad beyond `bad`; not known where the value is not a number."""
    if math.isnan(value):
        return State.UNKNOWN
    return State.GOOD if value <= good else State.LOOK if value <= bad else State.BAD


def tally(judged: Sequence[tuple[str, str]]) -> str:
    """How many tumours and organs are red and amber, of pairs of role and colour: what one worst light cannot sort."""
    groups = {
        "tumours": [colour for role, colour in judged if role == "tumour"],
        "organs": [colour for role, colour in judged if role != "tumour"],
    }
    return "; ".join(
        f"{name}: {colours.count('red')} of {len(colours)} red, {colours.count('amber')} amber"
        for name, colours in groups.items()
        if colours
    )


def worst(lights: Sequence[Light]) -> Light:
    """The first of the worst; what is not known counts more than what is good and less than what is not."""
    return max(lights, key=lambda light: _ORDER.index(light.state))
