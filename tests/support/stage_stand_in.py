"""A stage as `nufitdose tune` runs it, without any training: its error is that of a known curve of its settings."""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import yaml

parser = argparse.ArgumentParser()
parser.add_argument("config", type=Path)
parser.add_argument("--out", type=Path)
parser.add_argument("--resume", action="store_true")
parser.add_argument("--device")
parser.add_argument("--seed", type=int)
given = parser.parse_args()
config = yaml.safe_load(given.config.read_text())
x, how = float(config["objective"]["smoothness"]), config["data"]["cohort"]
given.out.mkdir(parents=True, exist_ok=True)
(given.out / "run.json").write_text("{}")
with (given.out / "calls.txt").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\n")
if how == "refused":
    print("finetune: there is no such cohort", file=sys.stderr)
    sys.exit(2)
if how == "broken":
    print("finetune: the loss was not finite", file=sys.stderr)
    sys.exit(1)
error = math.log10(x) ** 2  # least at 1
columns = ["step", "loss", "tre_mm"] if how == "known" else ["step", "loss"]
rows = [[10, 3.0, 1.5 + error], [20, 2.0, 2.0 + error], [30, 2.5, 7.0 + error]]
with (given.out / "validation.csv").open("w") as file:
    print(",".join(columns), file=file, flush=True)
    for row in rows:
        print(",".join(map(str, row[: len(columns)])), file=file, flush=True)
        if how == "known" and error > 0.25:
            time.sleep(30)  # a run to be stopped
