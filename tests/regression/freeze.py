"""Writes the frozen numbers anew; run it only when CHANGELOG.md says under "Numbers that change" why they moved.

python tests/regression/freeze.py
"""

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from regression.measured import ENGINES, FROZEN, SAMPLES, import_real, numbers_of, real_patient


def main() -> None:
    frozen = json.loads(FROZEN.read_text())
    with tempfile.TemporaryDirectory() as place:
        studies, real = dict(SAMPLES), real_patient()
        if real is not None:
            studies[real.name] = import_real(real, Path(place) / "study")
        for name, study in studies.items():
            for engine in ENGINES:
                frozen[f"{name} {engine}"] = numbers_of(study, Path(place) / f"{name}_{engine}", engine)
    FROZEN.write_text(json.dumps(frozen, indent=1) + "\n")


if __name__ == "__main__":
    main()
