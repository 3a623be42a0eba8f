import csv
import io
import math
import statistics

from keras_mtl import metrics as task_metrics
from keras_mtl.backend import files
from keras_mtl.benchmarking.arguments import as_list


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
        records,
        keys,
        labels,
        higher_is_better=(),
        baseline=None,
        scale=None,
    ):
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

    def _check_keys(self, argument, keys):
        unknown = [key for key in keys if key not in self.keys]
        if unknown:
            raise ValueError(
                f"Expected `{argument}` to have keys of the results, which are "
                f"{self.keys}. Received: {unknown}"
            )

    def _check_baseline(self):
        if isinstance(self.baseline, dict):
            # Raises an error if Δm is not defined for these.
            ones = dict.fromkeys(self.keys, 1.0)
            task_metrics.delta_m(ones, self.baseline)
        elif self.baseline not in self.labels:
            raise ValueError(
                "Expected `baseline` to be a label or a dict of key to value. "
                f"The labels are {self.labels}. Received: {self.baseline!r}"
            )

    def _check_record(self, record):
        missing = [key for key in self.keys if key not in record["metrics"]]
        if missing:
            raise ValueError(
                "Expected `metrics` to choose from what `evaluate` returns, "
                f"which is {list(record['metrics'])}. Received: {missing}"
            )

    def results(self, label, seed):
        """Returns a run's results, scaled: dict of key to value."""
        metrics = self._record(label, seed)["metrics"]
        return {
            key: metrics[key] * self.scale.get(key, 1.0) for key in self.keys
        }

    def histories(self, seed=None):
        """Returns the histories with one seed, by default the first.

        Returns:
            Dict of label to history dict, as `keras_mtl.plots` takes it.
        """
        seed = self.records[0]["seed"] if seed is None else seed
        return {x: self._record(x, seed)["history"] for x in self.labels}

    def _record(self, label, seed):
        for record in self.records:
            if (record["label"], record["seed"]) == (label, seed):
                return record
        raise ValueError(
            "Expected the label and seed of a run. "
            f"Received: label={label!r}, seed={seed}"
        )

    def _of(self, label):
        return [x for x in self.records if x["label"] == label]

    def summary(self):
        """Compares the weightings over all seeds.

        Returns:
            Dict of label to a dict. Its `metrics` are a dict of key to
            `(mean, standard deviation)` over the seeds; `delta_m` is that of Δm
            in percent, computed seed by seed; `mean_rank` is the rank of the
            means, averaged over the keys; `seconds_per_step` is the median over
            the seeds, and `relative_time` its ratio to the baseline's (to that
            of `"equal"`, or of the first label, where the baseline is a dict);
            `runs` is the number of seeds. The standard deviation of one run,
            and what is not finite or not defined, is NaN.
        """
        summary = {label: self._summary_of(label) for label in self.labels}
        means = {
            label: {key: x["metrics"][key][0] for key in self.keys}
            for label, x in summary.items()
        }
        ranks = task_metrics.mean_rank(means, self.higher_is_better)
        unit = summary[self._time_unit()]["seconds_per_step"]
        for label, entry in summary.items():
            entry["mean_rank"] = ranks[label]
            entry["relative_time"] = entry["seconds_per_step"] / unit
        return summary

    def _summary_of(self, label):
        records = self._of(label)
        runs = [self.results(label, x["seed"]) for x in records]
        times = [x["seconds_per_step"] for x in records]
        changes = [self._delta_m(label, x["seed"]) for x in records]
        return {
            "metrics": {
                key: _mean_and_deviation([run[key] for run in runs])
                for key in self.keys
            },
            "delta_m": _mean_and_deviation(changes),
            "seconds_per_step": statistics.median(times),
            "runs": len(runs),
        }

    def _delta_m(self, label, seed):
        baseline = self.baseline
        if not isinstance(baseline, dict):
            baseline = self.results(baseline, seed)
        results = self.results(label, seed)
        values = [*results.values(), *baseline.values()]
        if not all(map(math.isfinite, values)) or 0 in baseline.values():
            return math.nan
        return task_metrics.delta_m(results, baseline, self.higher_is_better)

    def _time_unit(self):
        if not isinstance(self.baseline, dict):
            return self.baseline
        return "equal" if "equal" in self.labels else self.labels[0]

    def _cells(self):
        """Returns rows of `(text, is the best one)`, without the header."""
        summary = self.summary()
        best = {key: self._best(summary, key) for key in self.keys}
        rows = []
        for label, entry in summary.items():
            row = [(label, False)]
            for key, (mean, deviation) in entry["metrics"].items():
                text = _format(mean, deviation, _digits(mean))
                row.append((text, mean == best[key]))
            row.append((f"{entry['mean_rank']:.2f}", False))
            row.append((_format(*entry["delta_m"], 1, sign="+"), False))
            row.append((f"{entry['relative_time']:.2f}", False))
            rows.append(row)
        return rows

    def _best(self, summary, key):
        means = [entry["metrics"][key][0] for entry in summary.values()]
        means = [mean for mean in means if math.isfinite(mean)] or [None]
        return max(means) if key in self.higher_is_better else min(means)

    def _grid(self):
        """Returns the header and the rows; many results go down the page."""
        header = ["weighting", *self.keys, "rank", "Δm (%)", "time"]
        grid = [[(text, False) for text in header], *self._cells()]
        if len(self.keys) > 4:
            grid = [list(column) for column in zip(*grid, strict=True)]
        return grid

    def _caption(self):
        seeds = len({record["seed"] for record in self.records})
        spread = "Mean ± standard deviation of {} seeds"
        spread = spread.format(seeds) if seeds > 1 else "One seed"
        given = isinstance(self.baseline, dict)
        baseline = "the given values" if given else self.baseline
        return (
            f"{spread}. Δm: mean change against {baseline}, lower is better. "
            f"Time: of a step, {self._time_unit()} = 1."
        )

    def table(self):
        """Returns the comparison as a `rich.table.Table`.

        The best value of each key is bold.

        Raises:
            ImportError: If rich is not installed.
        """
        try:
            import rich.box
            import rich.table
            import rich.text
        except ImportError as error:
            raise ImportError(
                "`table` needs rich: pip install keras-mtl[plots]. "
                "Without it, print the result."
            ) from error
        header, *rows = self._grid()
        table = rich.table.Table(
            box=rich.box.SIMPLE,
            padding=(0, 1, 0, 0),
            show_edge=False,
            caption=self._caption(),
            caption_justify="left",
        )
        for i, (text, _) in enumerate(header):
            table.add_column(
                rich.text.Text(text),
                justify="right" if i else "left",
                no_wrap=not i,
            )
        for row in rows:
            table.add_row(
                *(rich.text.Text(t, "bold" if best else "") for t, best in row)
            )
        return table

    def __str__(self):
        texts = [[text for text, _ in row] for row in self._grid()]
        widths = [max(map(len, x)) for x in zip(*texts, strict=True)]
        lines = []
        for first, *others in texts:
            cells = [first.ljust(widths[0])]
            for text, width in zip(others, widths[1:], strict=True):
                cells.append(text.rjust(width))
            lines.append("  ".join(cells))
        rule = "-" * len(lines[0])
        return "\n".join([lines[0], rule, *lines[1:], rule, self._caption()])

    def __repr__(self):
        return str(self)

    def to_csv(self, path):
        """Writes the summary to a CSV file, one row a weighting."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        pairs = [*self.keys, "delta_m"]
        header = [name for key in pairs for name in (key, f"{key}_std")]
        others = ["mean_rank", "relative_time", "seconds_per_step", "runs"]
        writer.writerow(["label", *header, *others])
        for label, entry in self.summary().items():
            values = {**entry["metrics"], "delta_m": entry["delta_m"]}
            cells = [value for key in pairs for value in values[key]]
            writer.writerow([label, *cells, *(entry[key] for key in others)])
        files.write(path, file.getvalue())

    def to_json(self, path):
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


def _mean_and_deviation(values):
    if not all(map(math.isfinite, values)):
        return math.nan, math.nan
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return statistics.fmean(values), deviation


def _digits(value):
    """Returns the number of decimals that shows four significant digits."""
    if value == 0 or not math.isfinite(value):
        return 3
    return max(0, 3 - math.floor(math.log10(abs(value))))


def _format(mean, deviation, digits, sign=""):
    kind = "f" if digits <= 7 else "e"
    digits = min(digits, 3) if kind == "e" else digits
    text = f"{mean:{sign}.{digits}{kind}}"
    if math.isfinite(deviation):
        text += f" ± {deviation:.{digits}{kind}}"
    return text
