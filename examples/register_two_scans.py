# %% [markdown]
# # Register two scans
#
# A trunk of a few organs is scanned twice, and the second time it lies elsewhere. `register` finds
# the motion.

# %%
import numpy as np
from scipy import ndimage

from nufitdose import Grid, TimePoint, Volume
from nufitdose.registration import register

# %% [markdown]
# Centre (mm, RAS+), radius (mm), HU, and activity (Bq/mL) of the organs. The second scan shows the
# trunk shifted by `SHIFT_MM`, and less active.

# %%
ORGANS = [
    ((45.0, 0.0, 10.0), 40.0, 60.0, 3e4),
    ((-45.0, -20.0, 20.0), 26.0, 45.0, 1.2e5),
    ((45.0, -40.0, -45.0), 20.0, 30.0, 2e5),
    ((-42.0, -40.0, -40.0), 20.0, 30.0, 2e5),
    ((0.0, -55.0, 0.0), 15.0, 700.0, 5e3),
]
SHIFT_MM = np.array([9.0, -6.0, 12.0])
grid = Grid.from_spacing((52, 44, 48), (4.0, 4.0, 4.0))


def scan(name: str, time_h: float, shift_mm: np.ndarray, seed: int) -> TimePoint:
    """The trunk shifted by `shift_mm`; the noise of neighbouring voxels is correlated, as reconstruction leaves it."""
    chance = np.random.default_rng(seed)
    own = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1)) - shift_mm
    inside = np.hypot(own[..., 0] / 92.0, own[..., 1] / 76.0) < 1.0
    hu, activity = np.where(inside, 0.0, -1000.0), np.where(inside, 5e3, 0.0)
    for centre, radius, organ_hu, organ_bq_ml in ORGANS:
        share = inside / (1.0 + np.exp((np.linalg.norm(own - centre, axis=-1) - radius) / 1.5))
        hu, activity = hu + share * (organ_hu - hu), activity + share * (organ_bq_ml - activity)
    activity = chance.poisson(activity * 2.0 ** (-time_h / 60.0) / 1e3) * 1e3
    hu = hu + chance.normal(0.0, 30.0, grid.shape)
    smooth_activity, smooth_hu = (ndimage.gaussian_filter(image, sigma=0.8) for image in (activity, hu))
    return TimePoint.of(name, time_h, Volume(smooth_activity, grid, "Bq/mL"), Volume(smooth_hu, grid, "HU"))


fixed, moving = scan("tp1", 4.0, np.zeros(3), seed=1), scan("tp2", 24.0, SHIFT_MM, seed=2)

# %% [markdown]
# The field lies on the fixed scan and pulls: what is at x on the fixed scan is found at x + u(x) on
# the moving one. Other engines than `rigid` bend as well; the default, `nufit`, takes longer.

# %%
result = register(fixed, moving, engine="rigid")
u_mm = result.field.at(np.array([centre for centre, *_ in ORGANS]))
found_mm = u_mm.mean(axis=0)
error_mm = np.linalg.norm(u_mm - SHIFT_MM, axis=-1).max()
print("shift put in, mm:", *SHIFT_MM)
print("shift found, mm:", *(f"{value:.2f}" for value in found_mm))
print(f"largest error at the organs, mm: {error_mm:.2f}")

# %% [markdown]
# `warp` brings any image of the moving scan onto the fixed one; `quality` says how well they agree,
# here before and after.

# %%
brought = result.warp(moving.activity)
print(f"activity, warped, MBq: {brought.total_mbq():.2f}; as scanned: {moving.activity.total_mbq():.2f}")
print(f"structural similarity: {result.unregistered.ssim:.3f} before, {result.quality.ssim:.3f} after")
