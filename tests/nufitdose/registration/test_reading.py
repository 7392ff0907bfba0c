"""Images read through affine maps, and what lies near a body: against scipy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from nufitdose.anatomy.body import near_body
from nufitdose.grid import Grid
from nufitdose.registration.reading import read_affine, read_affine_cubic
from nufitdose.volume import Quantity, Volume

SEEDS = st.integers(0, 2**31)


@given(SEEDS)
def test_cubic_splines_are_those_of_scipy_within_the_image(seed):
    random = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(random.normal(size=(14, 12, 15)), 1.0).astype(np.float32)
    to_index = np.eye(4)
    to_index[:3, :3] += 0.05 * random.normal(size=(3, 3))
    to_index[:3, 3] = np.array([3.0, 2.0, 4.0]) + random.normal(size=3)
    found = read_affine_cubic(image, to_index, (8, 9, 7), -2.0)
    place = np.einsum("ab,bijk->aijk", to_index[:3, :3], np.indices((8, 9, 7))) + to_index[:3, 3].reshape(3, 1, 1, 1)
    splines = ndimage.spline_filter(image.astype(float), 3, mode="nearest")
    wanted = ndimage.map_coordinates(splines, place, order=3, prefilter=False, mode="nearest")
    size = np.array(image.shape).reshape(3, 1, 1, 1)
    deep = ((place >= 2) & (place <= size - 3)).all(axis=0)
    np.testing.assert_allclose(found[deep], wanted[deep], atol=5e-4)
    beyond = ((place < -0.5) | (place > size - 0.5)).any(axis=0)
    assert (found[beyond] == -2.0).all()
    there = read_affine_cubic(image, np.eye(4), image.shape, 0.0)
    np.testing.assert_allclose(there, image, atol=1e-5)


@given(SEEDS)
def test_images_are_read_as_by_scipy_also_across_the_border(seed):
    random = np.random.default_rng(seed)
    image = random.normal(size=(2, 7, 6, 9)).astype(np.float32)
    to_index = np.eye(4)
    to_index[:3, :3] += 0.3 * random.normal(size=(3, 3))
    to_index[:3, 3] = 2.0 * random.normal(size=3)
    outside = (-1.5, 0.0)
    found = read_affine(image, to_index, (5, 8, 6), outside)
    for channel, beyond in enumerate(outside):
        wanted = ndimage.affine_transform(
            image[channel].astype(np.float64),
            to_index[:3, :3],
            to_index[:3, 3],
            output_shape=(5, 8, 6),
            order=1,
            mode="grid-constant",
            cval=beyond,
        )
        np.testing.assert_allclose(found[channel], wanted, atol=1e-5)


@given(SEEDS, st.tuples(*[st.floats(1.5, 30.0)] * 3))
def test_near_a_body_is_what_the_distance_map_says(seed, spacing_mm):
    inside = np.random.default_rng(seed).random((9, 8, 7)) > 0.97
    body = Volume(inside.astype(np.float32), Grid(inside.shape, np.diag([*spacing_mm, 1.0])), Quantity.SCALAR)
    found = near_body(body).data > 0.5
    if not inside.any():
        assert not found.any()
        return
    distance_mm = ndimage.distance_transform_edt(~inside, sampling=spacing_mm)
    sure = np.abs(distance_mm - 12.0) > 1e-4
    np.testing.assert_array_equal(found[sure], (distance_mm <= 12.0)[sure])


def test_a_body_is_found_once():
    body = Volume(np.ones((4, 4, 4), np.float32), Grid((4, 4, 4), np.eye(4)), Quantity.SCALAR)
    assert near_body(body) is near_body(body)
