"""One appearance per structure, kept through every picture, curve and table."""

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

#: Okabe and Ito's colours that show on white and on black alike; colour-blind safe (jfly.uni-koeln.de/color).
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
#: Lengths of dash and gap in line widths; a structure beyond the sixth repeats a colour with another dash.
DASHES = ((), (4.0, 1.6), (1.2, 1.2), (5.0, 1.5, 1.2, 1.5), (8.0, 2.0))

#: The two scans of a fused picture: where both have activity, orange and blue add to white.
FIXED_RGB = (0.96, 0.56, 0.0)
MOVING_RGB = (0.04, 0.44, 1.0)
#: Lines that belong to no structure.
INK, FAINT = "#1f2933", "#8a94a0"


@dataclass(frozen=True)
class Look:
    """Colour and dash of a structure."""

    colour: str
    dash: tuple[float, ...]

    @property
    def swatch(self) -> Markup:
        """A short line of this look for tables and legends."""
        dash = f' stroke-dasharray="{" ".join(f"{2.2 * d:g}" for d in self.dash)}"' if self.dash else ""
        line = f'<line x1="0" y1="5" x2="26" y2="5" stroke="{self.colour}" stroke-width="3.4"{dash}/>'
        return Markup(f'<svg class="swatch" viewBox="0 0 26 10" aria-hidden="true">{line}</svg>')  # noqa: S704


def by_colour(looks: dict[str, Look]) -> dict[str, list[str]]:
    """The names that share a colour, for pictures in which only colours show."""
    shared: dict[str, list[str]] = {}
    for name, own in looks.items():
        shared.setdefault(own.colour, []).append(name)
    return shared


Looks = dict[str, Look]


def looks_of(names: Iterable[str]) -> Looks:
    """The look of every structure of a run, by its place among them."""
    return {name: look(number) for number, name in enumerate(names)}


def look(number: int) -> Look:
    """The look of the structure with this number, from 0."""
    return Look(COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)])
