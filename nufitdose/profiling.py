"""Where the time of a run goes, function by function."""

import cProfile
import io
import pstats
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MOST_LINES = 80


@contextmanager
def profiled(path: Path | None) -> Iterator[None]:
    """Write the functions that the block spent its time in to a text file, those with the most first; None: do not.

    Times are of this thread; compiled and native code counts where it is called. Measuring makes a run a little slower.
    """
    if path is None:
        yield
        return
    with cProfile.Profile() as found:
        yield
    text = io.StringIO()
    statistics = pstats.Stats(found, stream=text).strip_dirs()
    for order in ("cumulative", "tottime"):
        statistics.sort_stats(order).print_stats(_MOST_LINES)
    path.write_text(text.getvalue(), encoding="utf-8")
