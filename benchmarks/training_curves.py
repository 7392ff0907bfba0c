"""The curves of training runs as a picture: `python -m benchmarks.training_curves PICTURE RUN [RUN ...]`.

Above the loss of every step and its mean over 25, and that of the validation; below, where the true motion is known,
the error of the validation over all landmarks, and that of its start.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

MEAN_OVER = 25


def column(path: Path, name: str) -> np.ndarray:
    """A column of a run's table."""
    with path.open(encoding="utf-8", newline="") as file:
        return np.array([float(row[name] or "nan") for row in csv.DictReader(file)])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("picture", type=Path)
    arguments.add_argument("runs", type=Path, nargs="+")
    given = arguments.parse_args()
    figure = Figure(figsize=(3.6 * len(given.runs), 5.0), dpi=100, layout="constrained")
    axes = figure.subplots(2, len(given.runs), sharex="col", squeeze=False)
    for (above, below), run in zip(axes.T, given.runs, strict=True):
        metrics, validation = run / "metrics.csv", run / "validation.csv"
        steps, loss = column(metrics, "step"), column(metrics, "loss")
        above.plot(steps, loss, color="0.8", linewidth=0.6)
        if len(loss) >= MEAN_OVER:
            mean = np.convolve(loss, np.full(MEAN_OVER, 1.0 / MEAN_OVER), "valid")
            above.plot(steps[MEAN_OVER - 1 :], mean, color="tab:blue", label=f"training, mean of {MEAN_OVER}")
        seen = column(validation, "step")
        above.plot(seen, column(validation, "loss"), "o-", color="tab:orange", markersize=3, label="validation")
        above.set(title=run.name, ylabel="loss")
        above.legend(fontsize=7)
        below.plot(seen, column(validation, "tre_mm"), "o-", color="tab:orange", markersize=3, label="network")
        below.plot(seen, column(validation, "tre_start_mm"), "--", color="0.4", label="start")
        below.set(xlabel="step", ylabel="error at landmarks, mm", ylim=(0.0, None))
        below.legend(fontsize=7)
    given.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.picture)


if __name__ == "__main__":
    main()
