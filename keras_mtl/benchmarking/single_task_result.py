import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class SingleTaskResult:
    """The results of models of one task each, a baseline of Δm.

    Attributes:
        results: Dict of key to the mean result over the seeds, on the test
            data, each key from the model of its task.
        validation: The same on the validation data, in the epoch that was
            tested; empty if there were none.
        learning_rates: Dict of task to the learning rate that was found, empty
            if there was no search.
        records: List of the records of the runs, as those of a
            `BenchmarkResult`, with the tasks as labels.
    """

    results: dict[str, float]
    validation: dict[str, float]
    learning_rates: dict[str, float]
    records: list[dict[str, Any]]


def baselines(
    baseline: Any, keys: Sequence[str], scale: Mapping[str, float] | None
) -> tuple[Any, dict[str, float] | None]:
    """Returns the baseline of the results, and that of the validation.

    Args:
        baseline: As of `benchmark`.
        keys: The results that are compared.
        scale: As of `benchmark`.

    Returns:
        A label or a dict in the unit of `scale`; and a dict in the unit of
        `evaluate`, `None` where the baseline is a label.
    """
    factors = {key: (scale or {}).get(key, 1.0) for key in keys}
    if isinstance(baseline, SingleTaskResult):
        results = _chosen(baseline.results, keys)
        validation = _chosen(baseline.validation, keys) or None
        return {key: results[key] * factors[key] for key in results}, validation
    if isinstance(baseline, Mapping):
        return baseline, {
            key: value / factors.get(key, 1.0)
            for key, value in baseline.items()
        }
    return baseline, None


def _chosen(
    results: Mapping[str, float], keys: Sequence[str]
) -> dict[str, float]:
    missing = [key for key in keys if key not in results]
    if results and missing:
        raise ValueError(
            "Expected the baseline of single tasks to have the results that "
            f"are compared. It has {list(results)}. Received: {missing}"
        )
    return {key: results[key] for key in keys} if results else {}
