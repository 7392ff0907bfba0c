"""Damage inputs of every reader for as long as told: `python -m support.fuzz --seconds 3600` from tests/."""

import argparse
import logging
import resource
import shutil
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from support.readers import READERS, judge


def main() -> int:
    """Report what each reader did and the seeds that it failed at; 1 where it failed at any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--start", type=int, default=0, help="first seed")
    parser.add_argument("--readers", default=",".join(READERS))
    asked = parser.parse_args()
    readers = {name: READERS[name]() for name in asked.readers.split(",")}
    logging.disable()  # what is warned of is no news here
    ended = time.monotonic() + asked.seconds
    counted: Counter[tuple[str, str]] = Counter()
    failed: set[tuple[str, str, str, int | None]] = set()
    with tempfile.TemporaryDirectory() as place:
        for name, reader in readers.items():
            (Path(place) / name).mkdir()
            reader.make(Path(place) / name)
        seed = asked.start
        while time.monotonic() < ended:
            for name, reader in readers.items():
                with tempfile.TemporaryDirectory(dir=place) as room:
                    folder = Path(room) / "in"
                    shutil.copytree(Path(place) / name, folder, symlinks=True)
                    reader.spoil(folder, seed)
                    try:
                        counted[name, "refused" if judge(reader, folder).refusal else "read"] += 1
                    except Exception as error:
                        counted[name, "FAILED"] += 1
                        last = traceback.extract_tb(error.__traceback__)[-1]
                        kind = (name, type(error).__name__, Path(last.filename).name, last.lineno)
                        if kind not in failed:
                            print(f"seed {seed}: {kind} {str(error)[:300]}", flush=True)
                        failed.add(kind)
            seed += 1
    print(f"seeds {asked.start} to {seed - 1}; memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB")
    for (name, what), number in sorted(counted.items()):
        print(f"{name:14} {what:8} {number}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
