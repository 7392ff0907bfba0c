import os
import signal
import time
from typing import Any

import numpy as np
import pytest

from nufitdose.io import guarded
from nufitdose.io.guarded import Read, ReadingError, read_guarded


def doubled(values: list[int]) -> Read:
    return {"sum": sum(values)}, 2 * np.array(values)


def header(name: str) -> Read:
    return {"name": name}, None


def abort() -> Read:
    os.kill(os.getpid(), signal.SIGABRT)  # as the C library does where its heap is damaged
    return {}, None


def fill(count: int) -> Read:
    return {}, np.ones(count, np.int64)


def wait() -> Read:
    time.sleep(600.0)
    return {}, None


def refuse() -> Read:
    raise ValueError("no such image")


def test_facts_and_voxels_come_back_from_another_process():
    facts, voxels = read_guarded(doubled, 24, values=[1, 2, 3])
    assert facts == {"sum": 6}
    np.testing.assert_array_equal(voxels, [2, 4, 6])
    assert read_guarded(header, 0, name="a") == ({"name": "a"}, None)


@pytest.mark.parametrize(
    ("reader", "arguments", "why"),
    [(abort, {}, "broke down"), (refuse, {}, "no such image"), (fill, {"count": 1 << 28}, "Unable to allocate")],
)
def test_a_reader_that_fails_or_dies_is_told_and_the_next_file_is_read(reader: Any, arguments: Any, why: str):
    with pytest.raises(ReadingError, match=why):
        read_guarded(reader, 0, **arguments)
    assert read_guarded(doubled, 8, values=[5])[0] == {"sum": 5}


def test_a_reader_that_does_not_come_back_is_ended(monkeypatch):
    monkeypatch.setattr(guarded, "_MOST_SECONDS", 0.5)
    begun = time.monotonic()
    with pytest.raises(ReadingError, match="takes too long"):
        read_guarded(wait, 0)
    assert time.monotonic() - begun < 60.0
