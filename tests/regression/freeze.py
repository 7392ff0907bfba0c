"""Writes the frozen numbers anew; run it only when CHANGELOG.md says under "Numbers that change" why they moved.

python tests/regression/freeze.py
"""

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from regression.measured import FROZEN, SAMPLE, import_real, numbers_of, real_patient


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        found = {"sample": numbers_of(SAMPLE, Path(place) / "sample")}
        real = real_patient()
        if real is None:
            found["lu177_dotatate_2tp"] = json.loads(FROZEN.read_text())["lu177_dotatate_2tp"]
        else:
            found["lu177_dotatate_2tp"] = numbers_of(import_real(real, Path(place) / "study"), Path(place) / "real")
    FROZEN.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
