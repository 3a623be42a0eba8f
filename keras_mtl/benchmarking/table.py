"""The comparison of a benchmark as a table: for rich, or in plain text."""

import math
import typing
from collections.abc import Mapping
from collections.abc import Sequence

if typing.TYPE_CHECKING:
    import rich.table

    from keras_mtl.benchmarking.result import BenchmarkResult

# A text, and whether it is the best of its kind.
Cell = tuple[str, bool]


def as_rich(result: "BenchmarkResult") -> "rich.table.Table":
    """Returns a `rich.table.Table`, the best value of each key in bold."""
    try:
        import rich.box
        import rich.table
        import rich.text
    except ImportError as error:
        raise ImportError(
            "`table` needs rich. Type: pip install rich. Without it, print "
            "the result."
        ) from error
    header, *rows = _grid(result)
    table = rich.table.Table(
        box=rich.box.SIMPLE,
        padding=(0, 1, 0, 0),
        show_edge=False,
        caption=_caption(result),
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


def as_text(result: "BenchmarkResult") -> str:
    """Returns the table in plain text, for which nothing need be installed."""
    texts = [[text for text, _ in row] for row in _grid(result)]
    return layout(texts, _caption(result))


def layout(texts: Sequence[Sequence[str]], caption: str) -> str:
    """Returns a table in plain text, of which the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    header, *rows = (
        "  ".join(
            text.rjust(width) if i else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in texts
    )
    rule = "-" * len(header)
    return "\n".join([header, rule, *rows, rule, caption])


def as_markdown(result: "BenchmarkResult") -> str:
    """Returns the table in Markdown, the best value of each key in bold."""
    header, *rows = [
        [f"**{text}**" if best else text for text, best in row]
        for row in _grid(result)
    ]
    rule = ["---", *(len(header) - 1) * ["---:"]]
    lines = [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]
    return "\n".join([*lines, "", _caption(result)])


def _grid(result: "BenchmarkResult") -> list[list[Cell]]:
    """Returns the header and the rows; many results go down the page."""
    higher = result.higher_is_better
    titles = [f"{key} {'↑' if key in higher else '↓'}" for key in result.keys]
    header = ["weighting", *titles, "rank ↓", "Δm (%) ↓", "time"]
    if _has_differences(result):
        header.insert(-1, f"Δm − {result.time_unit()}")
    grid = [[(text, False) for text in header], *_rows(result)]
    if len(result.keys) > 4:
        grid = [list(column) for column in zip(*grid, strict=True)]
    return grid


def _has_differences(result: "BenchmarkResult") -> bool:
    """Whether Δm does not say by itself how runs differ seed by seed."""
    return isinstance(result.baseline, dict) and _seeds(result) > 1


def _seeds(result: "BenchmarkResult") -> int:
    return len({record["seed"] for record in result.records})


def _has_intervals(result: "BenchmarkResult") -> bool:
    """Whether there are enough seeds: of two, an interval says nothing."""
    return _seeds(result) >= 3


def _spread(
    result: "BenchmarkResult", deviation: float, ends: Sequence[float]
) -> float:
    """Returns what stands behind ±."""
    low, high = ends
    return (high - low) / 2 if _has_intervals(result) else deviation


def _rows(result: "BenchmarkResult") -> list[list[Cell]]:
    summary = result.summary()
    best = {}
    for key in result.keys:
        means = [entry["metrics"][key][0] for entry in summary.values()]
        better = max if key in result.higher_is_better else min
        best[key] = better(filter(math.isfinite, means), default=None)
    rows = []
    for label, entry in summary.items():
        row = [(label, False)]
        for key, (mean, deviation) in entry["metrics"].items():
            spread = _spread(result, deviation, entry["intervals"][key])
            text = _format(mean, spread, _digits(mean))
            row.append((text, mean == best[key]))
        row.append((f"{entry['mean_rank']:.2f}", False))
        mean, deviation = entry["delta_m"]
        spread = _spread(result, deviation, entry["intervals"]["delta_m"])
        row.append((_format(mean, spread, 1, sign="+"), False))
        if _has_differences(result):
            row.append((_difference(result, entry["differences"]), False))
        row.append((f"{entry['relative_time']:.2f}", False))
        rows.append(row)
    return rows


def _difference(
    result: "BenchmarkResult",
    differences: Mapping[str, tuple[float, float, float]],
) -> str:
    mean, low, high = differences["delta_m"]
    spread = (high - low) / 2 if _has_intervals(result) else math.nan
    return _format(mean, spread, 1, sign="+")


def _caption(result: "BenchmarkResult") -> str:
    seeds = _seeds(result)
    spread = "One seed"
    if seeds > 1:
        spread = f"Mean ± standard deviation of {seeds} seeds"
    if _has_intervals(result):
        spread = (
            f"Mean ± 95 % confidence interval (Student's t) of {seeds} seeds"
        )
    given = isinstance(result.baseline, dict)
    baseline = "the given values" if given else result.baseline
    pairs = ""
    if _has_differences(result):
        pairs = f"Δm − {result.time_unit()}: seed by seed. "
    return (
        f"{spread}. "
        "↑: higher is better, ↓: lower is better. "
        f"Δm: mean change against {baseline}. {pairs}"
        f"Time: of a step, {result.time_unit()} = 1."
    )


def _digits(value: float) -> int:
    """Returns the number of decimals that shows four significant digits."""
    if value == 0 or not math.isfinite(value):
        return 3
    return max(0, 3 - math.floor(math.log10(abs(value))))


def _format(mean: float, deviation: float, digits: int, sign: str = "") -> str:
    kind = "f" if digits <= 7 else "e"
    digits = min(digits, 3) if kind == "e" else digits
    text = f"{mean:{sign}.{digits}{kind}}"
    if math.isfinite(deviation):
        text += f" ± {deviation:.{digits}{kind}}"
    return text
