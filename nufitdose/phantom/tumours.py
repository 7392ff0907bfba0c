"""Tumours: where they grow, how large and how uneven they are."""

import logging
from dataclasses import dataclass

import numpy as np

from nufitdose.phantom.composition import Composition
from nufitdose.phantom.shapes import Solid, Wobble, ellipsoid, rotation
from nufitdose.phantom.tissues import Palette

logger = logging.getLogger(__name__)
_TRIES = 50

#: Tissues a tumour of a site may be centred in.
SITES: dict[str, tuple[str, ...]] = {
    "liver": ("liver",),
    "bone": ("spongiosa",),
    "node": ("mesentery",),
    "thyroid_bed": ("thyroid",),
    "lung": ("lung",),
    "pancreas": ("pancreas",),
}
_TISSUES = {
    "liver": ("hypodense_tumour",),
    "bone": ("sclerotic_tumour", "lytic_tumour"),
    "node": ("tumour",),
    "thyroid_bed": ("tumour",),
    "lung": ("tumour",),
    "pancreas": ("tumour",),
}
#: Median diameter (mm) by site; log-normal with σ = 0.45, cut to 5-60 mm (chosen here).
_MEDIAN_MM = {"liver": 26.0, "bone": 18.0, "node": 14.0, "thyroid_bed": 11.0, "lung": 13.0, "pancreas": 24.0}
_LONGEST_MM = {"bone": 34.0, "node": 40.0, "thyroid_bed": 25.0}


@dataclass(frozen=True, eq=False)
class Tumour:
    """One tumour: its structure name, site, centre (mm, world), mean diameter and the solids it is painted with."""

    name: str
    site: str
    centre_mm: np.ndarray
    diameter_mm: float
    necrotic: bool
    solids: tuple[Solid, ...]


def place_tumours(
    composition: Composition,
    palette: Palette,
    random: np.random.Generator,
    sites: tuple[str, ...],
    diameters_mm: tuple[float, float],
) -> list[Tumour]:
    """One tumour for each of `sites`, centred in the site's tissue, apart from the others, of a size within limits."""
    placed: list[Tumour] = []
    for site in sites:
        hosts = [n for n, compartment in enumerate(palette.compartments) if compartment.tissue in SITES[site]]
        host = np.isin(composition.labels, hosts)
        pure = host & (composition.shares[0] > 0.95)  # a remnant of a gland may have no such voxel
        places = composition.grid.world(np.argwhere(pure if pure.any() else host).astype(np.float64))
        smallest, largest = diameters_mm
        drawn = min(float(random.lognormal(np.log(_MEDIAN_MM[site]), 0.45)), _LONGEST_MM.get(site, largest))
        diameter = float(np.clip(drawn, smallest, largest))
        for _ in range(_TRIES if len(places) else 0):
            centre = places[random.integers(len(places))] + random.uniform(-1.5, 1.5, 3)
            gaps = [np.linalg.norm(centre - t.centre_mm) - 0.65 * (t.diameter_mm + diameter) for t in placed]
            if not gaps or min(gaps) > 0:
                break
        else:
            logger.warning("no room was found for a tumour of the site %r in the field of view", site)
            continue
        placed.append(_grow(f"tumour_{len(placed) + 1}", site, centre, diameter, palette, random))
    return placed


def _grow(
    name: str, site: str, centre: np.ndarray, diameter_mm: float, palette: Palette, random: np.random.Generator
) -> Tumour:
    radius = diameter_mm / 2.0
    stretch = np.exp(random.normal(0.0, 0.14, 3))
    radii = radius * stretch / float(np.prod(stretch)) ** (1.0 / 3.0)
    turn = rotation(*(float(a) for a in random.uniform(-90, 90, 3)))
    irregular = float(random.choice([0.0, 0.08, 0.16])) * radius
    a, b, c = random.uniform(0, 2 * np.pi, 3)
    wobble = Wobble(irregular, max(9.0, 1.3 * radius), (float(a), float(b), float(c))) if irregular > 0.2 else None
    necrotic = bool(diameter_mm > 24.0 and random.random() < 0.45)
    compartment = palette.compartment(name, str(random.choice(_TISSUES[site])), name)
    body = ellipsoid(centre, radii, turn)
    if not necrotic:
        return Tumour(name, site, centre, diameter_mm, False, (body.paint(compartment, wobble=wobble),))
    core = palette.compartment(f"{name}_necrosis", "necrosis", name)
    rim = float(random.uniform(0.32, 0.5)) * radius
    return Tumour(
        name,
        site,
        centre,
        diameter_mm,
        True,
        (body.paint(compartment, inner=core, thickness_mm=rim, wobble=wobble),),
    )
