"""Resolution doubled by channels, and attention over overlapping windows."""

import pytest
import torch

from nufitdose.registration.network.shuffle import OverlappingAttention, Shuffle

torch.manual_seed(0)


def test_the_eight_parts_of_a_node_become_its_eight_neighbours():
    double = Shuffle(3)
    x = torch.rand(1, 3, 2, 3, 4)
    with torch.no_grad():
        wide, whole = double.widen(x), double(x, torch.zeros(1, 1, 4, 6, 8))
    assert whole.shape == (1, 3, 4, 6, 8)
    for channel in range(3):
        for part, (a, b, c) in enumerate([(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]):
            assert torch.equal(whole[0, channel, a::2, b::2, c::2], wide[0, 8 * channel + part])


def test_an_odd_size_loses_what_merging_had_added():
    assert Shuffle(2)(torch.rand(1, 2, 2, 2, 2), torch.zeros(1, 1, 3, 4, 3)).shape == (1, 2, 3, 4, 3)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 4, 5), (6, 2, 8)])
def test_attention_keeps_the_size(sizes):
    assert OverlappingAttention(4)(torch.rand(2, 4, *sizes)).shape == (2, 4, *sizes)


def test_a_window_sees_its_surroundings_and_nothing_beyond():
    attend = OverlappingAttention(4).eval()
    x = torch.rand(1, 4, 8, 8, 8)
    near, far = x.clone(), x.clone()
    near[..., 4, 2, 2] += torch.rand(4)  # next to the window of nodes 2 and 3
    far[..., 5, 2, 2] += torch.rand(4)
    with torch.no_grad():
        before, after_near, after_far = attend(x), attend(near), attend(far)
    window = (0, slice(None), slice(2, 4), slice(2, 4), slice(2, 4))
    assert not torch.allclose(before[window], after_near[window], atol=1e-5)
    assert torch.equal(before[window], after_far[window])


def test_moved_by_a_window_the_answer_moves_along():
    attend = OverlappingAttention(4).eval()
    with torch.no_grad():
        attend.place.normal_()
        x = torch.rand(1, 4, 12, 4, 4)
        here, there = attend(x), attend(x.roll(2, dims=2))
    torch.testing.assert_close(here[:, :, 2:8], there[:, :, 4:10])
