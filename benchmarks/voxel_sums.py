"""Do voxel integrals add to the truth, however noisy the voxels are? python -m benchmarks.voxel_sums [voxels].

Two structures of one curve and a remainder of another, by the default path of the patient run with their true noise of
the sums given; noise is normal, its deviation a multiple of the activity of each voxel, negative values kept.
"""

import sys
import time

import numpy as np

from dosimetry.config import KineticsSettings
from dosimetry.curves.structures import structure_curves
from dosimetry.curves.voxels import fit_frames
from dosimetry.metrics import Region
from nufitdose import kinetics
from nufitdose.grid import Grid
from nufitdose.nuclides import half_life_h
from nufitdose.registration.series import Frame
from nufitdose.volume import Quantity, Volume

LN2 = np.log(2.0)
LU_H = half_life_h("Lu-177")
CURVES = {  # amplitudes, half-lives in h
    "mono": ((100.0,), (55.0,)),
    "f3": ((100.0, -100.0), (55.0, 6.0)),
    "f3a": ((70.0, 30.0), (12.0, LU_H)),
    "bi": ((50.0, 50.0), (12.0, 70.0)),
}
PROTOCOLS = ((4.0, 24.0, 72.0), (4.0, 24.0, 72.0, 168.0), (1.0, 4.0, 24.0, 48.0, 96.0, 168.0))
NOISE = (0.3, 0.6, 1.0, 2.0)


def truth(name):
    """Amplitudes, Bq/mL, and rates, 1/h."""
    amplitudes, half_lives = CURVES[name]
    return np.array(amplitudes), LN2 / np.array(half_lives)


def body(voxels, inside, outside, protocol, noise, rng):
    """Frames of a structure in the lower half of a box, the remainder above, and the structure's region."""
    grid = Grid.from_spacing((voxels // 400, 20, 40), (4.0, 4.0, 4.0))
    held = np.zeros(grid.shape, bool)
    held[..., :20] = True
    frames = []
    for number, time_h in enumerate(protocol):
        clean = np.where(held, *(kinetics.value(*truth(name), np.array([time_h]))[0] for name in (inside, outside)))
        activity = Volume((clean * (1.0 + noise * rng.normal(size=grid.shape))).astype(np.float32), grid,
                          Quantity.ACTIVITY)  # fmt: skip
        frames.append(Frame(f"tp{number}", time_h, activity, activity.total_mbq()))
    index = np.flatnonzero(held)
    return frames, {"organ": Region(index, np.full(index.size, grid.voxel_volume_ml), 0.0)}


def measure(inside, protocol, noise, voxels=40_000, seed=0, **settings):
    """Sums over the truth, scaled, and over the curve before scaling, of the structure and of the rest; flags; s."""
    rng = np.random.default_rng([seed, int(10 * noise), len(protocol)])
    frames, regions = body(voxels, inside, "bi", protocol, noise, rng)
    chosen = KineticsSettings(**settings)
    start = time.perf_counter()
    curves = structure_curves(frames, regions, chosen, LU_H)
    fitted = fit_frames(frames, LU_H, chosen, regions, curves)
    seconds = time.perf_counter() - start
    tia = fitted.fit.tia.astype(np.float64)
    region = regions["organ"]
    rest = np.setdiff1d(np.arange(tia.size), region.index)
    found = [
        tia[region.index].mean() / kinetics.integral(*truth(inside)),
        tia[rest].mean() / kinetics.integral(*truth("bi")),
    ]
    return *found, *(fitted.sum_to_curve[name] for name in ("organ", "rest")), curves.structures["organ"], seconds


def main(voxels):
    head = (
        f"{'curve':6}{'scans':>6}{'noise':>6}{'sum/truth':>11}{'rest':>8}{'unscaled/curve':>16}{'alone':>8}{'rest':>8}"
    )
    print(f"{head}  model")
    for protocol in PROTOCOLS:
        for inside in CURVES:
            for noise in NOISE:
                given = {"voxels": voxels, "u_activity_percent": 2.0}
                own, rest, before, rest_before, curve, _ = measure(inside, protocol, noise, **given)
                alone = measure(inside, protocol, noise, guided=False, **given)[2]
                print(
                    f"{inside:6}{len(protocol):6}{noise:6.1f}{own:11.3f}{rest:8.3f}{before:16.3f}{alone:8.3f}"
                    f"{rest_before:8.3f}  {curve.model}, u {100 * curve.u_tia_mbq_h / curve.tia_mbq_h:.1f} %",
                    flush=True,
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40_000)
