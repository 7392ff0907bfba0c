"""Bones: spine, ribs, sternum, shoulder girdle, pelvis, femora, lower skull, arms."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nufitdose.phantom.build import Build
from nufitdose.phantom.shapes import Profile, Solid, Wobble, ellipsoid, rib, ring, rotation, tube
from nufitdose.phantom.tissues import Palette

CORTEX_MM = 2.2
_RIB_OFFSET_MM = 4.2  # of a rib's middle from the cavity: half its width and the pleura


@dataclass(frozen=True)
class Vertebra:
    """Name, centre of the body (reference mm) and its half-width, half-depth, half-height (mm)."""

    name: str
    y: float
    z: float
    radii: tuple[float, float, float]


def vertebrae() -> list[Vertebra]:
    """C3 to L5 with cervical lordosis, thoracic kyphosis and lumbar lordosis."""
    heights = [*np.linspace(392, 316, 5), *np.linspace(298, 26, 12), *np.linspace(-3, -138, 5)]
    names = [f"C{n}" for n in range(3, 8)] + [f"T{n}" for n in range(1, 13)] + [f"L{n}" for n in range(1, 6)]
    curve_z = [400.0, 350.0, 300.0, 240.0, 170.0, 90.0, 20.0, -50.0, -100.0, -145.0]
    curve_y = [2.0, 0.0, -14.0, -34.0, -46.0, -42.0, -28.0, -14.0, -12.0, -24.0]
    result = []
    for name, z in zip(names, heights, strict=True):
        y = float(np.interp(z, curve_z[::-1], curve_y[::-1]))
        t = (392.0 - z) / 530.0
        width, depth = 12.0 + 13.0 * t, 9.0 + 9.0 * t
        half_height = {"C": 6.5, "T": 10.5, "L": 14.0}[name[0]]
        result.append(Vertebra(name, y, float(z), (width, depth, half_height)))
    return result


def spine(body: Build, palette: Palette) -> list[Solid]:
    """Discs, vertebral bodies with arches and processes, the canal, sacrum and coccyx."""
    bone, marrow = palette.compartment("cortical_bone", structure=""), palette.compartment("vertebrae", "spongiosa")
    disc, cord = palette.compartment("disc", structure=""), palette.compartment("spinal_cord")
    levels, solids = vertebrae(), []
    for above, below in pairwise(levels):
        radius = 0.82 * min(above.radii[:2])
        solids.append(tube(body.at(0, above.y, above.z), body.at(0, below.y, below.z), radius).paint(disc))
    for v in levels:
        width, depth, half_height = v.radii
        back = v.y - depth
        arch = 4.0 + 0.12 * width
        for side in (-1, 1):
            tip = body.at(side * width * 1.75, back - 14, v.z - 2)
            solids.append(tube(body.at(side * 9, back - 6, v.z), tip, arch, arch * 0.7).paint(bone))
            lamina = body.at(side * 11, back - 12, v.z)
            solids.append(tube(lamina, body.at(0, back - 24, v.z - 5), arch).paint(bone))
        drop = 14.0 if v.name.startswith("T") else 5.0
        spinous = tube(body.at(0, back - 24, v.z - 5), body.at(0, back - 44, v.z - 5 - drop), arch, arch * 0.8)
        solids.append(spinous.paint(bone))
        vertebral = ellipsoid(body.at(0, v.y, v.z), body.sizes(width, depth, half_height), exponent=4.0)
        solids.append(vertebral.paint(bone, inner=marrow, thickness_mm=1.6))
    for above, below in pairwise(levels):
        start, end = (body.at(0, v.y - v.radii[1] - 8, v.z) for v in (above, below))
        solids.append(tube(start, end, 7.5).paint(cord))
    pelvic_marrow = palette.compartment("pelvic_bone", "spongiosa")
    sacrum = ellipsoid(body.at(0, -52, -195), body.sizes(50, 17, 52), rotation(x_deg=-22), 2.5)
    solids.append(sacrum.paint(bone, inner=pelvic_marrow, thickness_mm=CORTEX_MM))
    coccyx = tube(body.at(0, -72, -240), body.at(0, -66, -272), 9, 4)
    return [*solids, coccyx.paint(bone, inner=pelvic_marrow, thickness_mm=CORTEX_MM)]


def rib_cage(body: Build, cavity: Profile, index: int, palette: Palette) -> list[Solid]:
    """Twelve pairs of ribs as tilted hoops just outside the chest cavity, their cartilage, the sternum.

    `index` is the place of the profile `cavity` among the painter's.
    """
    bone, marrow = palette.compartment("cortical_bone", structure=""), palette.compartment("ribs", "spongiosa")
    cartilage = palette.compartment("cartilage", structure="")
    solids = []
    for n in range(12):
        posterior_z = 290.0 - 23.5 * n
        tilt = 14.0 + 1.6 * n
        reach = math.radians(132.0 - 2.5 * n if n < 10 else 92.0 - 22.0 * (n - 10))
        middle_z = posterior_z - 95.0 * math.tan(math.radians(tilt)) * 0.85
        _, _, centre_y = cavity.at(max(middle_z, -150.0) * body.length)
        centre, turn = np.array([0.0, centre_y, middle_z * body.length]), rotation(x_deg=-tilt)
        hoop = rib(cavity, index, centre, _RIB_OFFSET_MM, (3.6, 6.5), turn, reach)
        solids.append(hoop.paint(bone, inner=marrow, thickness_mm=1.3))
        if n < 8:
            front = rib(cavity, index, centre, _RIB_OFFSET_MM, (3.2, 5.0), turn, math.pi - 0.05)
            solids.insert(0, front.paint(cartilage))
    chest_front = cavity.at(165.0 * body.length)
    front_y = float(chest_front[2] + chest_front[1]) + 1.0
    sternum = ellipsoid((0, front_y, 165 * body.length), body.sizes(18, 6, 76), rotation(x_deg=21), 4.0)
    return [*solids, sternum.paint(bone, inner=marrow, thickness_mm=1.5)]


def girdles(body: Build, palette: Palette) -> list[Solid]:
    """Clavicles, scapulae, iliac wings, pubis, ischium, femora."""
    bone = palette.compartment("cortical_bone", structure="")
    shoulder, pelvis = (
        palette.compartment("shoulder_girdle", "spongiosa"),
        palette.compartment("pelvic_bone", "spongiosa"),
    )
    femur = palette.compartment("femora", "spongiosa")
    solids: list[Solid] = []

    def add(solid: Solid, marrow: int, thickness_mm: float = CORTEX_MM) -> None:
        solids.append(solid.paint(bone, inner=marrow, thickness_mm=thickness_mm))

    lift = 25.0 if body.arms == "up" else 0.0
    for side in (-1.0, 1.0):
        add(tube(body.at(side * 20, 40, 250), body.at(side * 85, 12, 272), 6.5), shoulder)
        add(tube(body.at(side * 85, 12, 272), body.at(side * 155, -22, 270 + lift), 6.0), shoulder)
        blade = rotation(z_deg=side * 28, y_deg=-side * (8 + lift * 0.6))
        add(ellipsoid(body.at(side * 118, -88, 206 + lift * 0.2), body.sizes(46, 5.5, 66), blade, 2.5), shoulder, 1.6)
        add(tube(body.at(side * 100, -94, 250), body.at(side * 162, -42, 262 + lift), 6.0), shoulder)
        wing = rotation(x_deg=6, y_deg=-side * 26) @ rotation(z_deg=side * 38)
        add(ellipsoid(body.at(side * 92, -22, -182), body.sizes(9.5, 60, 58), wing, 2.5), pelvis)
        add(tube(body.at(side * 52, -58, -180), body.at(side * 84, -25, -245), 15, 14), pelvis)
        add(ellipsoid(body.at(side * 87, -8, -266), body.sizes(31, 31, 31)), pelvis)
        add(tube(body.at(side * 72, 10, -268), body.at(side * 18, 38, -302), 9.5, 9), pelvis)
        add(tube(body.at(side * 78, -28, -285), body.at(side * 56, -48, -342), 14, 14), pelvis)
        add(tube(body.at(side * 20, 32, -312), body.at(side * 52, -42, -346), 7.5), pelvis)
        cup = ellipsoid(body.at(side * 91, -8, -270), body.sizes(26, 26, 26))
        solids.append(cup.paint(palette.compartment("cartilage", structure="")))
        add(tube(body.at(side * 104, -12, -282), body.at(side * 133, -20, -302), 16, 18), femur)
        add(ellipsoid(body.at(side * 91, -8, -270), body.sizes(23.5, 23.5, 23.5)), femur)
        add(tube(body.at(side * 136, -20, -296), body.at(side * 128, -16, -345), 17, 15), femur, 4.0)
        add(tube(body.at(side * 128, -16, -345), body.at(side * 100, -8, -620), 15, 14), femur, 6.0)
    return solids


def skull(body: Build, palette: Palette) -> list[Solid]:
    """Cranium with brain, the base of the skull, and the mandible."""
    bone, brain = palette.compartment("cortical_bone", structure=""), palette.compartment("brain")
    marrow = palette.compartment("mandible", "spongiosa")
    cranium = ellipsoid(body.at(0, 8, 480), body.sizes(73, 92, 78)).paint(bone, inner=brain, thickness_mm=6.5)
    face = ellipsoid(body.at(0, 72, 432), body.sizes(42, 30, 30)).paint(
        palette.compartment("facial_bone", "spongiosa", ""), wobble=Wobble(5.0, 26.0, (0.3, 1.1, 2.0))
    )
    sinus = ellipsoid(body.at(0, 82, 432), body.sizes(26, 16, 18)).paint(palette.compartment("gas", structure=""))
    jaw = ring(body.at(0, 42, 382), (46.0, 56.0), (5.5, 12.0), rotation(z_deg=180) @ rotation(x_deg=8), 1.75)
    teeth = jaw.paint(bone, inner=marrow, thickness_mm=CORTEX_MM)
    return [face, sinus, cranium, teeth]


def arm_joints(body: Build) -> list[list[np.ndarray]]:
    """Shoulder, elbow and wrist of both arms in the drawn posture (mm, world)."""
    if body.arms == "up":
        path = [(172, -22, 275), (150, 15, 540), (40, 70, 700)]
    else:
        path = [(178, -22, 250), (232, -28, -30), (228, 20, -280)]
    return [[body.at(side * x, y, z) for x, y, z in path] for side in (-1.0, 1.0)]


def arm_bones(body: Build, palette: Palette) -> list[Solid]:
    """Humeri, and radius and ulna."""
    bone, marrow = palette.compartment("cortical_bone", structure=""), palette.compartment("arm_bones", "spongiosa")
    solids = []
    for shoulder, elbow, wrist in arm_joints(body):
        head = ellipsoid(shoulder, (23.0, 23.0, 23.0))
        solids += [
            tube(shoulder, elbow, 12.5, 12.0).paint(bone, inner=marrow, thickness_mm=4.0),
            head.paint(bone, inner=marrow, thickness_mm=CORTEX_MM),
        ]
        for shift in (-9.0, 9.0):
            offset = np.array([shift, 0.0, 0.0])
            solids.append(tube(elbow + offset, wrist + offset, 7.0).paint(bone, inner=marrow, thickness_mm=2.5))
    return solids


def implants(body: Build, palette: Palette, implant: str) -> list[Solid]:
    """A hip prosthesis on the right, or screws and rods at L3 to L5."""
    if implant == "none":
        return []
    metal = palette.compartment("implant", "metal", "")
    if implant == "hip":
        return [
            ellipsoid(body.at(91, -8, -270), (16.0, 16.0, 16.0)).paint(metal),
            tube(body.at(94, -9, -272), body.at(130, -20, -302), 7).paint(metal),
            tube(body.at(130, -20, -302), body.at(122, -14, -400), 8, 6).paint(metal),
        ]
    levels = [v for v in vertebrae() if v.name in ("L3", "L4", "L5")]
    solids = []
    for side in (-1.0, 1.0):
        heads = [body.at(side * 20, v.y - v.radii[1] - 20, v.z) for v in levels]
        for v, head in zip(levels, heads, strict=True):
            solids.append(tube(head, body.at(side * 9, v.y + 6, v.z), 3.0).paint(metal))
        solids += [tube(a, b, 3.2).paint(metal) for a, b in pairwise(heads)]
    return solids
