"""Compiled loops over voxels: one set of numba's options, and work shared among threads without its threading layer.

Compiled code releases the interpreter lock. Slabs do not depend on the number of threads, so that sums over them are
taken in one order on every machine. `typing.no_type_check` keeps the shape checks of the tests away from functions
that only the compiler may look into.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TypeVar

import numba
import numpy as np

_SLABS = 32
_IMAGES_AT_ONCE = 2  # more would hold too many images in memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`numba.njit` with a cache on disk; without one where numba finds no folder it may write to."""
    return _njit(function)


def part_of_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """`compiled` for what only other compiled functions call: half the time to compile, not callable from Python."""
    return _njit(function, no_cpython_wrapper=True)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """`compiled` for small functions that become part of those that call them."""
    return _njit(function, inline="always")


def _njit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    options |= {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither NUMBA_CACHE_DIR, nor the package's folder, nor the user's cache folder is writable
        return numba.njit(**options)(function)


def over_slabs(loop: Callable[..., Any], slices: int, *arguments: Any) -> list[Any]:
    """Run `loop(first, last, *arguments)` over slabs of `range(slices)` in threads; results in order of the slabs."""
    edges = np.unique(np.linspace(0, slices, _SLABS + 1).astype(int)).tolist()
    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        return list(pool.map(lambda slab: loop(*slab, *arguments), pairwise(edges)))


def over_blocks(loop: Callable[..., Any], slices: int, *arguments: Any) -> list[Any]:
    """`over_slabs` with one slab a thread: for loops that do work beyond their ends, and sum nothing over slices."""
    with blocks_of(slices) as run:
        return run(loop, *arguments)


@contextmanager
def blocks_of(slices: int) -> Iterator[Callable[..., list[Any]]]:
    """`over_blocks` of so many slices, for many loops after one another: the threads stay."""
    threads = max(1, min(numba.get_num_threads(), slices))
    if threads == 1:
        yield lambda loop, *arguments: [loop(0, slices, *arguments)]
        return
    blocks = list(pairwise(np.linspace(0, slices, threads + 1).astype(int).tolist()))
    with ThreadPoolExecutor(threads) as pool:
        yield lambda loop, *arguments: list(pool.map(lambda block: loop(*block, *arguments), blocks))


def in_threads(tasks: Iterable[Callable[[], None]]) -> None:
    """Carry out compiled tasks in threads; the first error is raised when all have ended."""
    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()


def side_by_side(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map(function, items)`, in order, two items at work at once where numba has two threads."""
    threads = numba.get_num_threads()
    count = min(threads, _IMAGES_AT_ONCE)
    # Numba's number of threads belongs to a thread: without the initializer the pool's would take the machine's.
    with ThreadPoolExecutor(count, initializer=numba.set_num_threads, initargs=(threads,)) as pool:
        yield from pool.map(function, items)
