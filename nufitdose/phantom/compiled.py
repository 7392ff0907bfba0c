"""Compilation of loops over voxels: cached on disk where there is a place for it, without the interpreter lock."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

import numba
import numpy as np

_SLABS_PER_THREAD = 8
_AT_ONCE = 2  # more would hold too many images in memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_slabs(loop: Callable[..., Any], slices: int, *arguments: Any) -> None:
    """Run `loop(first, last, *arguments)` over slabs of `range(slices)`, shared among numba's number of threads."""
    threads = numba.get_num_threads()
    edges = np.unique(np.linspace(0, slices, threads * _SLABS_PER_THREAD + 1).astype(int)).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda slab: loop(*slab, *arguments), pairwise(edges)))


def side_by_side(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map(function, items)`, in order, two items at work at once where numba has two threads."""
    threads = numba.get_num_threads()
    # Numba's number of threads belongs to a thread: without the initializer the pool's would take the machine's.
    with ThreadPoolExecutor(min(threads, _AT_ONCE), initializer=numba.set_num_threads, initargs=(threads,)) as pool:
        yield from pool.map(function, items)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`numba.njit` with a cache on disk; without one where numba finds no folder it may write to."""
    return _njit(function)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """`compiled` for small functions that become part of those that call them."""
    return _njit(function, inline="always")


def _njit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)
    except RuntimeError:  # neither NUMBA_CACHE_DIR nor any other cache folder is writable
        return numba.njit(nogil=True, error_model="numpy", **options)(function)
