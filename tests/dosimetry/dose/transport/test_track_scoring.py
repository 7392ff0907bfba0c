"""Points on a photon's track against the length it has in every voxel."""

import numpy as np
import pytest

from dosimetry.dose.transport.streams import beside, start_stream, uniform
from dosimetry.dose.transport.voxel_photons import score_track

SHAPE = (4, 5, 3)
LOW, HIGH = np.array([-2.0, 1.0, 0.0]), np.array([6.0, 5.0, 3.0])  # beyond the grid, within it, at its end


def lengths_by_many_points(start, direction, length, points=400_000):
    """Length of a track in every voxel between the corners and on the grid, by its middle points."""
    places = start + np.outer((np.arange(points) + 0.5) / points * length, direction)
    inside = ((places >= np.maximum(LOW, 0.0)) & (places < np.minimum(HIGH, SHAPE))).all(axis=1)
    voxels = np.ravel_multi_index(tuple(places[inside].astype(int).T), SHAPE)
    return np.bincount(voxels, minlength=np.prod(SHAPE)) * (length / points)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ((0.3, 1.2, 0.4), (3.7, 4.6, 2.9)),
        ((-1.5, 4.4, 2.6), (5.5, 0.2, 0.3)),  # in and out of the grid
        ((2.5, 2.5, 1.5), (2.6, 2.55, 1.52)),  # within a voxel
        ((3.9, 4.9, 2.9), (-1.0, -1.0, -1.0)),
        ((1.5, -3.0, 1.5), (1.5001, 9.0, 1.5001)),  # along an axis
        ((5.0, 6.0, 1.0), (9.0, 9.0, 1.5)),  # past it all
    ],
)
def test_points_are_on_average_the_length_in_each_voxel(start, end):
    """Over all places where the first point may lie; with a tissue in each voxel, so that none is taken for another."""
    start, sides = np.array(start), 0.4
    way = np.array(end) - start
    length = float(np.linalg.norm(way)) * sides
    per_cm = way / length
    tissue, tally = np.arange(np.prod(SHAPE), dtype=np.uint8), np.zeros(np.prod(SHAPE))
    per_point = np.linspace(1.0, 2.0, tissue.size)
    starts = (np.arange(2000) + 0.5) / 2000
    for first in starts:
        score_track(*start, *per_cm, length, per_point * sides, sides, first, LOW, HIGH, SHAPE, tissue, tally)
    expected = per_point * lengths_by_many_points(start, per_cm, length)
    np.testing.assert_allclose(tally / starts.size, expected, atol=2e-3 * sides)


def test_numbers_beside_a_stream_are_even_and_leave_it_as_it_was():
    """Mean 1/2, variance 1/12, and no correlation with the number that comes next."""
    stream = np.zeros(1, np.uint64)
    start_stream(stream, 3, 7)
    pairs = np.array([(beside(stream), uniform(stream)) for _ in range(20_000)])
    assert pairs.mean(axis=0) == pytest.approx(0.5, abs=0.01)
    assert pairs.var(axis=0) == pytest.approx(1 / 12, abs=0.002)
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 0.03
    again = np.zeros(1, np.uint64)
    start_stream(again, 3, 7)
    assert [uniform(again) for _ in range(100)] == pairs[:100, 1].tolist()
