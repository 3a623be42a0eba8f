"""The demo: one network, the eleven properties of QM9, several weightings."""

import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_mtl import metrics
from keras_mtl import plots
from keras_mtl import weightings as weightings_module
from keras_mtl.benchmarking import BenchmarkResult
from keras_mtl.benchmarking import benchmark
from keras_mtl.benchmarking import labels
from keras_mtl.datasets import qm9
from keras_mtl.model import MultiTaskModel
from keras_mtl.models import message_passing

BATCH_SIZE = 64
LEARNING_RATE = 4e-3


def run_demo(
    epochs: int,
    molecules: int,
    weightings: Sequence[str],
    seed: int = 0,
    output_dir: str | os.PathLike = "demo_results",
    export_dir: str | os.PathLike = "saved_models/qm9",
    data_dir: str | os.PathLike | None = None,
) -> BenchmarkResult:
    """Trains with each weighting, prints the table, plots and exports.

    Args:
        epochs: Epochs of each run.
        molecules: Number of molecules: 80 % for training, 10 % each for
            validation and test.
        weightings: Names, of which the first is the baseline of Δm; `"a+b"` is
            the chain of `a` and `b`.
        seed: Integer.
        output_dir: Folder for the plots and the results.
        export_dir: Folder for the model whose validation errors are the
            smallest.
        data_dir: Folder with the CSV files of QM9, by default `qm9pack`'s.

    Returns:
        The `BenchmarkResult`.

    Raises:
        ValueError: If a weighting is not known.
    """
    output_dir = pathlib.Path(output_dir)
    by_name = _by_name(weightings)
    data = _load(molecules, seed, data_dir)
    keeper = _BestModel()
    start = time.perf_counter()
    result = _compare(
        data, epochs, by_name, seeds=[seed], on_run_end=keeper.update
    )
    seconds = time.perf_counter() - start
    print(f"\nMean absolute errors on {_size(data[2])} test molecules")
    _print_table(result)
    print(f"Training and testing took {seconds:.0f} s.")
    output_dir.mkdir(parents=True, exist_ok=True)
    result.to_csv(output_dir / "results.csv")
    result.to_json(output_dir / "results.json")
    for path in _save_plots(result, output_dir):
        print(f"Saved {path}")
    if keeper.model is None:
        print("Saved no model: no run ended with finite validation errors")
    else:
        path = _export(keeper.model, export_dir)
        print(f"Saved the model trained with {keeper.label} in {path}")
    return result


def run_benchmark(
    epochs: int,
    molecules: int,
    weightings: Sequence[str],
    seeds: Sequence[int] = (0, 1, 2),
    path: str | os.PathLike = "benchmark.jsonl",
    data_dir: str | os.PathLike | None = None,
) -> BenchmarkResult:
    """Compares weightings over several seeds; continues if it was interrupted.

    Args:
        epochs: As of `run_demo`.
        molecules: As of `run_demo`.
        weightings: As of `run_demo`.
        seeds: Integers, one run of each weighting for each. The molecules are
            those of seed 0.
        path: File of JSON lines, one a run.
        data_dir: As of `run_demo`.

    Returns:
        The `BenchmarkResult`.
    """
    by_name = _by_name(weightings)
    data = _load(molecules, 0, data_dir)
    result = _compare(data, epochs, by_name, seeds=seeds, path=path)
    _print_table(result)
    return result


def _load(
    molecules: int, seed: int, data_dir: str | os.PathLike | None
) -> tuple:
    print(f"Loading {molecules} molecules of QM9", flush=True)
    return qm9.load_data(molecules, seed=seed, data_dir=data_dir)


def _compare(
    data: tuple, epochs: int, weightings: dict[str, Any], **arguments: Any
) -> BenchmarkResult:
    train, validation, test, statistics = data
    steps = -(-_size(train) // BATCH_SIZE) * epochs

    def compile_arguments() -> dict[str, Any]:
        # The rate ends at zero: with a constant one, the differences between
        # seeds are larger than those between weightings.
        rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
        return {
            "optimizer": keras.optimizers.Adam(rate),
            "loss": dict.fromkeys(qm9.TASKS, "mse"),
            "metrics": {task: ["mae"] for task in qm9.TASKS},
        }

    return benchmark(
        lambda: MultiTaskModel(*message_passing(qm9.TASKS)),
        train,
        compile_args=compile_arguments,
        weightings=weightings,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        validation_data=validation,
        test_data=test,
        metrics=dict.fromkeys(qm9.TASKS, "mae"),
        scale={f"{t}_mae": statistics[t].std for t in qm9.TASKS},
        **arguments,
    )


def _by_name(names: Sequence[str]) -> dict[str, Any]:
    """Parses `"a+b"`; an unknown name shows before anything is loaded."""
    parsed = [name.split("+") for name in names]
    for parts in parsed:
        weightings_module.get(parts if len(parts) > 1 else parts[0])
    # Other spellings of a name are recorded as one.
    canonical = [labels.canonical(name) for name in names]
    labels.check_different(canonical)
    return {
        name: parts if len(parts) > 1 else parts[0]
        for name, parts in zip(canonical, parsed, strict=True)
    }


def _size(split: tuple) -> int:
    return len(split[0]["atoms"])


def _print_table(result: BenchmarkResult) -> None:
    try:
        import rich

        rich.print(result.table())
    except ImportError:
        print(result)


class _BestModel:
    """Keeps the model with the smallest validation errors.

    They are compared by Δm against those of the first model.
    """

    def __init__(self) -> None:
        self._reference: dict[str, float] | None = None
        self._delta_m = np.inf
        self.model: MultiTaskModel | None = None
        self.label: str | None = None

    def update(self, model: MultiTaskModel, record: dict[str, Any]) -> None:
        history = record["history"]
        errors = {t: history[f"val_{t}_mae"][-1] for t in qm9.TASKS}
        if not np.all(np.isfinite(list(errors.values()))):
            return
        self._reference = self._reference or errors
        delta_m = metrics.delta_m(errors, self._reference)
        if self.model is None or delta_m < self._delta_m:
            self._delta_m = delta_m
            self.model, self.label = model, record["label"]


def _save_plots(
    result: BenchmarkResult, output_dir: pathlib.Path
) -> Iterator[pathlib.Path]:
    import matplotlib.pyplot as plt

    for name in ("task_weights", "task_losses", "delta_m"):
        axes = getattr(plots, name)(result)
        figure = np.ravel(axes).flat[0].figure
        path = output_dir / f"{name}.png"
        figure.savefig(path, dpi=150, bbox_inches="tight")
        plt.close(figure)
        yield path


def _export(
    model: MultiTaskModel, export_dir: str | os.PathLike
) -> pathlib.Path:
    """Exports the model; all or nothing stays on the disk."""
    target = pathlib.Path(export_dir)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        new = pathlib.Path(folder) / target.name
        if keras.backend.backend() == "torch":
            # Keras exports no SavedModel from PyTorch.
            new.mkdir()
            model.save(new / "model.keras")
        else:
            model.export(new, verbose=False)
        if target.exists():
            shutil.rmtree(target)
        os.replace(new, target)
    return target
