"""Which weighting for which problem: the results of all fair comparisons.

Gathers what `text_classification.py`, `nyuv2.py`, `qm9_tuned.py` and
`multi_mnist.py` wrote: Δm against models of one task each with its 95 %
interval, the mean rank, and the difference to equal and to tuned fixed weights,
seed by seed. There is one where its interval does not hold zero. The relative
time of a step is that of `benchmarks/step_time.py` on its MLP, for the methods
that it measured.

    python experiments/decision_table.py

The table is in `decision_table.csv`, a row for each weighting and problem, and
as a heat map in `decision_table.png`. Nothing is trained here.
"""

import argparse
import csv
import io
import json
from pathlib import Path

import numpy as np

from keras_mtl.backend import files

FOLDER = Path(__file__).parent
TIMES = FOLDER.parent / "benchmarks" / "results" / "step_time.json"
PROBLEMS = {
    "topics": "topics",
    "sentiment": "sentiment",
    "nyuv2": "NYUv2",
    "qm9_tuned": "QM9",
    "multi_mnist": "MultiMNIST",
}
# Those with which all others are compared.
REFERENCES = ("equal", "tuned")
# A change of this many percent has the strongest colour. Colours are even below
# the smaller number, and logarithmic above it.
STRONGEST, EVEN = 100, 5


def read(folder):
    """Returns the results of the problems that were measured."""
    paths = {name: folder / f"{name}.json" for name in PROBLEMS}
    return {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name, path in paths.items()
        if path.exists()
    }


def relative_times(path=TIMES, mode="tensorflow"):
    """Returns the median ratio to plain Keras of each method."""
    if not path.exists():
        return {}
    entries = json.loads(path.read_text(encoding="utf-8"))[mode]
    return {
        label.removesuffix("/features"): entry["ratio"][1]
        for label, entry in entries.items()
    }


def verdict(difference):
    """Returns what a difference and its interval say of Δm."""
    if difference is None:
        return ""
    _, low, high = difference
    return "better" if high < 0 else "worse" if low > 0 else "no difference"


def rows_of(contents, times):
    """Returns the rows of the table, a dict each."""
    rows = []
    for problem, content in contents.items():
        for label, row in content["weightings"].items():
            low, high = row["interval"]
            differences = {
                f"against_{x}": (
                    "" if x == label else verdict(row.get(f"difference_to_{x}"))
                )
                for x in REFERENCES
            }
            rows.append(
                {
                    "problem": problem,
                    "weighting": label,
                    "delta_m": round(row["delta_m"][0], 3),
                    "low": round(low, 3),
                    "high": round(high, 3),
                    "mean_rank": round(row["mean_rank"], 2),
                    **differences,
                    "relative_time": (
                        round(times[label], 2) if label in times else ""
                    ),
                }
            )
    return rows


def save(rows, path):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write(path, text.getvalue())
    print(f"Saved {path}")


def grid_of(rows):
    """Returns the labels, the best first, the problems, and Δm of both."""
    problems = list(dict.fromkeys(row["problem"] for row in rows))
    labels = list(dict.fromkeys(row["weighting"] for row in rows))
    known = {(row["weighting"], row["problem"]): row for row in rows}
    values = np.full((len(labels), len(problems)), np.nan)
    for i, label in enumerate(labels):
        for j, problem in enumerate(problems):
            if (label, problem) in known:
                values[i, j] = known[label, problem]["delta_m"]
    # The order is that of the mean over the problems, the whole rows first.
    unknown = np.isnan(values).sum(axis=1)
    order = np.lexsort((np.nanmean(values, axis=1), unknown))
    return [labels[i] for i in order], problems, values[order], known


def draw(rows, path):
    """Draws Δm as a heat map, with the half of the interval in each cell."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import SymLogNorm

    labels, problems, values, known = grid_of(rows)
    size = (max(5.8, 2.2 + 1.5 * len(problems)), 1.2 + 0.32 * len(labels))
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    axes.imshow(
        np.ma.masked_invalid(values),
        cmap="RdBu_r",
        norm=SymLogNorm(EVEN, vmin=-STRONGEST, vmax=STRONGEST),
        aspect="auto",
        alpha=0.7,
    )
    for i, label in enumerate(labels):
        for j, problem in enumerate(problems):
            row = known.get((label, problem))
            text = "not measured"
            if row is not None:
                half = (row["high"] - row["low"]) / 2
                marks = {"better": " ▼", "worse": " ▲"}
                mark = marks.get(row["against_equal"], "")
                text = f"{row['delta_m']:.1f} ± {half:.1f}{mark}"
            color = "0.6" if row is None else "black"
            axes.text(
                *(j, i, text), ha="center", va="center", color=color, fontsize=8
            )
    axes.set_xticks(
        range(len(problems)), [PROBLEMS[problem] for problem in problems]
    )
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(length=0)
    axes.set_title(
        "Δm against models of one task, %, lower is better\n"
        "± half of the 95 % interval; ▼ better, ▲ worse than equal weights",
        fontsize=9,
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"Saved {path}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--results-dir", type=Path, default=FOLDER)
    parser.add_argument("--output-dir", type=Path, default=FOLDER)
    arguments = parser.parse_args(argv)
    contents = read(arguments.results_dir)
    if not contents:
        raise SystemExit(
            f"Expected one of {[f'{x}.json' for x in PROBLEMS]} in "
            f"{arguments.results_dir}. Run its script first."
        )
    rows = rows_of(contents, relative_times())
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    save(rows, arguments.output_dir / "decision_table.csv")
    draw(rows, arguments.output_dir / "decision_table.png")


if __name__ == "__main__":
    main()
