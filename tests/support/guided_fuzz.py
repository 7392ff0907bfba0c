"""Coverage-guided fuzzing of one reader by atheris: `python -m support.guided_fuzz READER [options of libFuzzer]`.

From tests/, where atheris is installed; it is no dependency. The bytes take the place of the file that may be damaged.
"""

import logging
import shutil
import sys
import tempfile
from pathlib import Path

import atheris

_COMPILED = ["nufitdose.io.polygons"]  # numba does not understand what is put into it
with atheris.instrument_imports(include=["nufitdose", "pydicom", "nibabel"], exclude=_COMPILED):
    from support.readers import READERS, judge


def main() -> None:
    """Run until an option of libFuzzer (-max_total_time=600) ends it, or a reader fails."""
    name = sys.argv.pop(1)
    logging.disable()
    reader = READERS[name]()
    place = Path(tempfile.mkdtemp())
    try:
        (place / "in").mkdir()
        reader.make(place / "in")
        file = min((place / "in").glob(reader.damage[0][0]))
        (place.parent / f"{place.name}-corpus").mkdir()
        (place.parent / f"{place.name}-corpus/sound").write_bytes(file.read_bytes())

        def try_one(data: bytes) -> None:
            file.write_bytes(data)
            judge(reader, place / "in")

        atheris.Setup([*sys.argv, "-max_len=8192", "-rss_limit_mb=4096", f"{place}-corpus"], try_one)
        atheris.Fuzz()
    finally:
        shutil.rmtree(place)
        shutil.rmtree(f"{place}-corpus", ignore_errors=True)


if __name__ == "__main__":
    main()
