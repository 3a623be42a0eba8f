import dataclasses
import math
import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from keras_mtl.backend import files
from keras_mtl.benchmarking import table
from keras_mtl.benchmarking.setting import Setting
from keras_mtl.benchmarking.trials import Outcome


class TuningResult:
    """What a search found. It prints as a table.

    Args:
        outcomes: List of `Outcome`, the trials of all methods.
        seed: The seed of the search.
    """

    def __init__(self, outcomes: Sequence[Outcome], seed: int) -> None:
        self._outcomes: dict[str, list[Outcome]] = {}
        for outcome in outcomes:
            self._outcomes.setdefault(outcome.trial.label, []).append(outcome)
        self._seed = seed

    @property
    def best(self) -> dict[str, Setting]:
        """The best setting of each method: dict of label to `Setting`.

        `benchmark(weightings=search.best)` takes it.

        Raises:
            ValueError: If a method has no trial whose result is finite.
        """
        for label, outcomes in self._outcomes.items():
            if self._best(label).rank() == math.inf:
                raise ValueError(
                    f"Expected a trial of {label!r} with a result that is "
                    "finite; try smaller `learning_rates`. "
                    f"Received: {[outcome.score() for outcome in outcomes]}"
                )
        return {
            label: dataclasses.replace(
                self._best(label).trial.setting, search_seed=self._seed
            )
            for label in self._outcomes
        }

    @property
    def trials(self) -> dict[str, list[dict[str, Any]]]:
        """The trials of each method, the best one first.

        Dict of label to a list of dicts with the entries `learning_rate`;
        `parameters`, dict of the method's own ones to their values, for
        `"tuned"` of `"weights"` to the fixed weights; `score`, the validation
        result by which it counts; `best_epoch`; and `record`, that of its run.
        """
        return {
            label: [
                {
                    "learning_rate": outcome.trial.setting.learning_rate,
                    "parameters": outcome.trial.parameters,
                    "score": outcome.score(),
                    "best_epoch": outcome.record["best_epoch"],
                    "record": outcome.record,
                }
                for outcome in sorted(outcomes, key=Outcome.rank)
            ]
            for label, outcomes in self._outcomes.items()
        }

    def _best(self, label: str) -> Outcome:
        return min(self._outcomes[label], key=Outcome.rank)

    def at_the_end(self) -> dict[str, float]:
        """Returns the learning rates at an end of the range that was searched.

        There, a wider range may have a better one.

        Returns:
            Dict of label to its best learning rate.
        """
        found = {}
        for label, outcomes in self._outcomes.items():
            rates = [x.trial.setting.learning_rate for x in outcomes]
            best = self._best(label).trial.setting.learning_rate
            if best in (min(rates), max(rates)):
                found[label] = best
        return found

    def to_json(self, path: str | os.PathLike) -> None:
        """Writes the trials to a JSON file, the best one of each method first.

        Values that are not finite are written as `null`.
        """
        content = {"seed": self._seed, "trials": self.trials}
        files.write(path, files.to_json(content, indent=1) + "\n")

    def __str__(self) -> str:
        rows = [["weighting", "trials", "learning_rate", "score", "parameters"]]
        is_at_end = self.at_the_end()
        for label, outcomes in self._outcomes.items():
            best = self._best(label)
            rate = f"{best.trial.setting.learning_rate:.4g}"
            rate += "*" if label in is_at_end else ""
            score = f"{best.score():.4g} ({best.select[0]})"
            rows.append([label, str(len(outcomes)), rate, score, _text(best)])
        caption = f"Seed {self._seed}. Best trials on the validation data."
        if is_at_end:
            caption += (
                " *: at the end of the range; a wider one may have a better."
            )
        return table.layout(rows, caption)

    def __repr__(self) -> str:
        return str(self)


def _text(outcome: Outcome) -> str:
    parameters = outcome.trial.parameters
    weights = parameters.get("weights", {})
    if isinstance(weights, Mapping) and weights:
        texts = [f"{task} {weight:.3g}" for task, weight in weights.items()]
    else:
        texts = [f"{name}={value}" for name, value in parameters.items()]
    return ", ".join(texts)
