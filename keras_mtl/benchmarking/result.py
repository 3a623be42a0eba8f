import csv
import io
import math
import os
import statistics
import typing
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from keras_mtl import metrics as task_metrics
from keras_mtl.backend import files
from keras_mtl.backend.checks import as_list
from keras_mtl.benchmarking import table
from keras_mtl.benchmarking.intervals import interval

if typing.TYPE_CHECKING:
    import rich.table


class BenchmarkResult:
    """The runs of a benchmark and their comparison. It prints as a table.

    Args:
        records: List of dicts, one a run, with the entries `label` and `seed`;
            `metrics`, what `evaluate` returned; `history`, that of `fit`;
            `epochs` trained; `seconds` of `fit`, and `seconds_per_step`.
        keys: The entries of `metrics` to compare.
        labels: The labels of the weightings, in the order of the table.
        higher_is_better: Those of `keys` for which higher is better.
        baseline: One of `labels`, or a dict of key to value.
        scale: Dict of key to a factor of its values.

    Raises:
        ValueError: If these do not belong together.
    """

    def __init__(
        self,
        records: Iterable[dict[str, Any]],
        keys: Iterable[str],
        labels: Iterable[str],
        higher_is_better: Sequence[str] = (),
        baseline: str | dict[str, float] | None = None,
        scale: Mapping[str, float] | None = None,
    ) -> None:
        self.records = list(records)
        self.keys = list(keys)
        self.labels = list(labels)
        self.higher_is_better = as_list(higher_is_better)
        self.baseline = self.labels[0] if baseline is None else baseline
        self.scale = dict(scale or {})
        self._check_keys("higher_is_better", self.higher_is_better)
        self._check_keys("scale", self.scale)
        self._check_baseline()
        for record in self.records:
            self._check_record(record)

    def _check_keys(self, argument: str, keys: Iterable[str]) -> None:
        unknown = [key for key in keys if key not in self.keys]
        if unknown:
            raise ValueError(
                f"Expected `{argument}` to have keys of the results, which are "
                f"{self.keys}. Received: {unknown}"
            )

    def _check_baseline(self) -> None:
        if isinstance(self.baseline, dict):
            # `delta_m` raises an error if it is not defined for the baseline.
            ones = dict.fromkeys(self.keys, 1.0)
            task_metrics.delta_m(ones, self.baseline)
        elif self.baseline not in self.labels:
            raise ValueError(
                "Expected `baseline` to be a label or a dict of key to value. "
                f"The labels are {self.labels}. Received: {self.baseline!r}"
            )

    def _check_record(self, record: dict[str, Any]) -> None:
        missing = [key for key in self.keys if key not in record["metrics"]]
        if missing:
            raise ValueError(
                "Expected `metrics` to choose from what `evaluate` returns, "
                f"which is {list(record['metrics'])}. Received: {missing}"
            )

    def results(self, label: str, seed: int) -> dict[str, float]:
        """Returns a run's results, scaled: dict of key to value."""
        metrics = self._record(label, seed)["metrics"]
        return {
            key: metrics[key] * self.scale.get(key, 1.0) for key in self.keys
        }

    def histories(
        self, seed: int | None = None
    ) -> dict[str, dict[str, list[float]]]:
        """Returns the histories with one seed, by default the first.

        Returns:
            Dict of label to history dict, as `keras_mtl.plots` takes it.
        """
        seed = self.records[0]["seed"] if seed is None else seed
        return {x: self._record(x, seed)["history"] for x in self.labels}

    def _record(self, label: str, seed: int) -> dict[str, Any]:
        for record in self.records:
            if (record["label"], record["seed"]) == (label, seed):
                return record
        raise ValueError(
            "Expected the label and seed of a run. "
            f"Received: label={label!r}, seed={seed}"
        )

    def summary(self) -> dict[str, dict[str, Any]]:
        """Compares the weightings over all seeds.

        Returns:
            Dict of label to a dict. Its `metrics` are a dict of key to
            `(mean, standard deviation)` over the seeds; `delta_m` is that of Δm
            in percent, computed seed by seed; `mean_rank` is the rank of the
            means, averaged over the keys; `seconds_per_step` is the median over
            the seeds, and `relative_time` its ratio to the baseline's (to that
            of `"equal"`, or of the first label, where the baseline is a dict);
            `runs` is the number of seeds. `intervals` is a dict of key, and of
            `delta_m`, to `(low, high)`, the ends of the 95 % confidence
            interval of the mean by Student's t; `differences` is that of the
            label from `differences()`. The standard deviation and the interval
            of one run, and what is not finite or not defined, are NaN.
        """
        summary = {label: self._summary_of(label) for label in self.labels}
        means = {
            label: {key: x["metrics"][key][0] for key in self.keys}
            for label, x in summary.items()
        }
        ranks = task_metrics.mean_rank(means, self.higher_is_better)
        unit = summary[self.time_unit()]["seconds_per_step"]
        differences = self.differences()
        for label, entry in summary.items():
            entry["differences"] = differences[label]
            entry["mean_rank"] = ranks[label]
            entry["relative_time"] = entry["seconds_per_step"] / unit
        return summary

    def _summary_of(self, label: str) -> dict[str, Any]:
        records = [x for x in self.records if x["label"] == label]
        runs = [self.results(label, x["seed"]) for x in records]
        times = [x["seconds_per_step"] for x in records]
        values = {key: [run[key] for run in runs] for key in self.keys}
        changes = [self._delta_m(label, x["seed"]) for x in records]
        return {
            "metrics": {
                key: _mean_and_deviation(x) for key, x in values.items()
            },
            "delta_m": _mean_and_deviation(changes),
            "intervals": {
                key: interval(x)[1:]
                for key, x in {**values, "delta_m": changes}.items()
            },
            "seconds_per_step": statistics.median(times),
            "runs": len(runs),
        }

    def _delta_m(self, label: str, seed: int) -> float:
        baseline = self.baseline
        if not isinstance(baseline, dict):
            baseline = self.results(baseline, seed)
        results = self.results(label, seed)
        values = [*results.values(), *baseline.values()]
        if not all(map(math.isfinite, values)) or 0 in baseline.values():
            return math.nan
        return task_metrics.delta_m(results, baseline, self.higher_is_better)

    def differences(
        self, label: str | None = None
    ) -> dict[str, dict[str, tuple[float, float, float]]]:
        """Compares the weightings to one of them, seed by seed.

        A seed's initial weights and batches are the same for all weightings,
        so that the differences vary less than the results do.

        Args:
            label: The one to compare to. By default the baseline, or, where
                that is a dict, `"equal"` or else the first label.

        Returns:
            Dict of label to a dict of key, and of `delta_m`, to `(mean, low,
            high)`: the mean difference and the ends of its 95 % confidence
            interval by Student's t. They are over the seeds that both have.
        """
        reference = self.time_unit() if label is None else label
        seeds = [x["seed"] for x in self.records if x["label"] == reference]
        if not seeds and self.records:
            # It says what is wrong.
            self._record(reference, self.records[0]["seed"])
        differences = {}
        for label in self.labels:
            own = {x["seed"] for x in self.records if x["label"] == label}
            pairs = [
                (self._values(label, seed), self._values(reference, seed))
                for seed in seeds
                if seed in own
            ]
            differences[label] = {
                key: interval([run[key] - other[key] for run, other in pairs])
                for key in [*self.keys, "delta_m"]
            }
        return differences

    def _values(self, label: str, seed: int) -> dict[str, float]:
        results = self.results(label, seed)
        return {**results, "delta_m": self._delta_m(label, seed)}

    def time_unit(self) -> str:
        """Returns the label whose time of a step is 1.

        Differences are those to it, too.
        """
        if not isinstance(self.baseline, dict):
            return self.baseline
        return "equal" if "equal" in self.labels else self.labels[0]

    def table(self) -> "rich.table.Table":
        """Returns the comparison as a `rich.table.Table`.

        The best value of each key is bold.

        Raises:
            ImportError: If rich is not installed.
        """
        return table.as_rich(self)

    def to_markdown(self) -> str:
        """Returns the comparison as a table in Markdown.

        The best value of each key is bold.
        """
        return table.as_markdown(self)

    def __str__(self) -> str:
        return table.as_text(self)

    def __repr__(self) -> str:
        return str(self)

    def to_csv(self, path: str | os.PathLike) -> None:
        """Writes the summary to a CSV file, one row a weighting."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        pairs = [*self.keys, "delta_m"]
        header = [name for key in pairs for name in (key, f"{key}_std")]
        others = ["mean_rank", "relative_time", "seconds_per_step", "runs"]
        ends = [f"{key}_{end}" for key in pairs for end in ("low", "high")]
        writer.writerow(["label", *header, *others, *ends])
        for label, entry in self.summary().items():
            values = {**entry["metrics"], "delta_m": entry["delta_m"]}
            cells = [value for key in pairs for value in values[key]]
            cells += [entry[key] for key in others]
            cells += [end for key in pairs for end in entry["intervals"][key]]
            writer.writerow([label, *cells])
        files.write(path, file.getvalue())

    def to_json(self, path: str | os.PathLike) -> None:
        """Writes the summary and the records to a JSON file.

        Values that are not finite are written as `null`.
        """
        content = {
            "keys": self.keys,
            "higher_is_better": self.higher_is_better,
            "baseline": self.baseline,
            "scale": self.scale,
            "summary": self.summary(),
            "records": self.records,
        }
        files.write(path, files.to_json(content, indent=1) + "\n")


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    if not all(map(math.isfinite, values)):
        return math.nan, math.nan
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return statistics.fmean(values), deviation
