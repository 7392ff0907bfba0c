"""Speed of the voxel fits, beside lmfit and scipy on the same voxels in the same run: python -m benchmarks.kinetics."""

import os
import subprocess
import sys
import tempfile
import time
import tracemalloc

import lmfit
import numpy as np
from scipy.optimize import curve_fit

from dosimetry.kinetics import ScanTimes, fit_voxels, fit_voxels_guided

LU177_H = 159.528
RATE_P = np.log(2) / LU177_H
TIMES = np.array([4.0, 24.0, 72.0, 168.0])
FIVE_TIMES = np.array([2.0, 6.0, 24.0, 72.0, 168.0])
STUDY = 256 * 256 * 199


def voxels(n, seed=0):
    """Noisy Lu-177 voxels, float32, and their standard deviation."""
    rng = np.random.default_rng(seed)
    teff_h = np.exp(rng.uniform(np.log(10), np.log(140), n))
    clean = rng.uniform(20, 500, n)[:, None] * 2.0 ** (-TIMES / teff_h[:, None])
    sigma = 0.05 * clean + 1.0
    return (clean + sigma * rng.normal(size=clean.shape)).astype(np.float32), sigma.astype(np.float32)


def two_phases(n, seed=1):
    """Noisy Lu-177 voxels of two phases at five time points, float32."""
    rng = np.random.default_rng(seed)
    slow, fast = (np.log(2) / rng.uniform(low, high, (n, 1)) for low, high in ((40, 120), (3, 15)))
    clean = rng.uniform(20, 200, (n, 1)) * np.exp(-slow * FIVE_TIMES)
    clean += rng.uniform(20, 200, (n, 1)) * np.exp(-fast * FIVE_TIMES)
    return (clean * (1 + 0.05 * rng.normal(size=clean.shape))).astype(np.float32)


def fastest(call, repeats=5):
    """Shortest wall time and processor time of a call, s, and its result."""
    wall, processor = [], []
    for _ in range(repeats):
        start, start_processor = time.perf_counter(), time.process_time()
        result = call()
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    return min(wall), min(processor), result


def with_lmfit(activity, sigma):
    parameters = lmfit.Parameters()
    tia = np.empty(len(activity))
    for voxel, (y, s) in enumerate(zip(activity.astype(float), sigma.astype(float), strict=True)):
        parameters.add("a", value=y.max(), min=0)
        parameters.add("rate", value=0.02, min=RATE_P)
        result = lmfit.minimize(
            lambda p, y=y, s=s: (y - p["a"].value * np.exp(-p["rate"].value * TIMES)) / s, parameters, scale_covar=False
        )
        tia[voxel] = result.params["a"].value / result.params["rate"].value
    return tia


def with_scipy(activity, sigma):
    tia = np.empty(len(activity))
    bounds = ([0.0, RATE_P], [np.inf, 1.0])
    for voxel, (y, s) in enumerate(zip(activity.astype(float), sigma.astype(float), strict=True)):
        (a, rate), _ = curve_fit(
            lambda t, a, rate: a * np.exp(-rate * t), TIMES, y, (y.max(), 0.02), s, absolute_sigma=True, bounds=bounds
        )
        tia[voxel] = a / rate
    return tia


def first_call_s():
    """Wall time of the first call in a fresh process without and with compiled code on disk, s."""
    script = (
        "import time, numpy as np; from dosimetry.kinetics import fit_voxels; start = time.perf_counter();"
        "fit_voxels(np.ones((2, 4)), [4.0, 24.0, 72.0, 168.0], 160.0); print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        command = [sys.executable, "-c", script]
        return [
            float(subprocess.run(command, env=environment, capture_output=True, check=True).stdout) for _ in range(2)
        ]


def main():
    activity, sigma = voxels(2_000_000)
    phases = two_phases(300_000)
    few = slice(0, 300)
    fit_voxels(activity[:2], TIMES, LU177_H)
    fit_voxels(phases[:2], FIVE_TIMES, LU177_H, model="bi")
    fit_voxels_guided(activity[:1000], TIMES, LU177_H, sigma[:1000])
    fit_voxels(phases[:2], FIVE_TIMES, LU177_H, model="aicc")
    beds = ScanTimes.from_scans([time_h + 0.3 * (np.arange(len(activity)) % 300 // 100) for time_h in TIMES])
    rows = []
    for name, call, n in (
        ("mono, unweighted", lambda: fit_voxels(activity, TIMES, LU177_H), len(activity)),
        ("mono, sigma per voxel", lambda: fit_voxels(activity, TIMES, LU177_H, sigma=sigma), len(activity)),
        ("mono, 3 bed positions", lambda: fit_voxels(activity, beds, LU177_H), len(activity)),
        ("mono, guided", lambda: fit_voxels_guided(activity, TIMES, LU177_H, sigma), len(activity)),
        ("bi, 5 time points", lambda: fit_voxels(phases, FIVE_TIMES, LU177_H, model="bi"), len(phases)),
        ("f3, 5 time points", lambda: fit_voxels(phases, FIVE_TIMES, LU177_H, model="f3"), len(phases)),
        ("aicc, 5 time points", lambda: fit_voxels(phases, FIVE_TIMES, LU177_H, "aicc", 0.05 * phases), len(phases)),
        ("lmfit", lambda: with_lmfit(activity[few], sigma[few]), 300),
        ("scipy curve_fit", lambda: with_scipy(activity[few], sigma[few]), 300),
    ):
        seconds, processor_seconds, result = fastest(call, 3 if n < 1000 else 5)
        rows.append((name, n / seconds, n / processor_seconds, result))
    ours = rows[1]
    print(f"{'fit, 4 time points':24}{'voxels/s':>14}{'per core':>14}{'mono with sigma is faster by':>32}")
    for name, speed, per_core, _ in rows:
        print(f"{name:24}{speed:14,.0f}{per_core:14,.0f}{ours[1] / speed:32,.1f}")
    difference = np.abs(ours[3].tia[few] / rows[-2][3] - 1)
    print(f"TIA beside lmfit, 300 voxels: median {np.median(difference):.1e}, worst {difference.max():.1e}")
    cold, warm = first_call_s()
    print(f"first call: {cold:.2f} s with compilation, {warm:.2f} s from the cache")
    study = np.resize(activity, (STUDY, 4))
    del rows, ours, activity, sigma
    seconds, processor_seconds, _ = fastest(lambda: fit_voxels(study, TIMES, LU177_H), 1)
    tracemalloc.start()
    fit_voxels(study, TIMES, LU177_H)
    peak = tracemalloc.get_traced_memory()[1]
    print(
        f"{STUDY:,} voxels: {seconds:.2f} s, {processor_seconds:.2f} s of one core; input {study.nbytes / 1e6:.0f} MB,"
    )
    print(f"  at most {peak / 1e6:.0f} MB more ({1 + peak / study.nbytes:.1f} x input in all)")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} (above 1: others share the machine)")


if __name__ == "__main__":
    main()
