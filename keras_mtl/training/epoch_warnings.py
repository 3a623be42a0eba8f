"""Warnings of what went wrong in an epoch, once per task and training."""

import contextlib
import contextvars
import math
import warnings
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

# A weight that is so many times what it was in the first epoch runs away.
MAX_GROWTH = 1e3

# The name of the run of which warnings are, in a benchmark.
RUN: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "run", default=None
)


@contextlib.contextmanager
def named_run(name: str) -> Iterator[None]:
    """Lets the warnings of trainings inside name the run."""
    token = RUN.set(name)
    try:
        yield
    finally:
        RUN.reset(token)


class EpochWarnings:
    """Warns at the end of epochs, of each task once for each reason.

    Args:
        weighting: The `Weighting` in use.
    """

    def __init__(self, weighting: Any) -> None:
        self._weighting = weighting
        self._first_weights: dict[str, float] = {}
        self._warned: set[tuple[str, str]] = set()

    def check(
        self, losses: Mapping[str, float], weights: Mapping[str, float]
    ) -> None:
        """Looks at the means of an epoch.

        Args:
            losses: Dict of task to loss.
            weights: Dict of task to weight, empty if they are not known.
        """
        self._warn(
            "The mean loss of the epoch was not finite, for the tasks:",
            {t: x for t, x in losses.items() if not math.isfinite(x)},
            "A lower learning rate or the optimizer's `clipnorm` may help; "
            "look for labels and inputs that are not finite, too.",
        )
        name = type(self._weighting).__name__
        if self._weighting.needs_positive_losses:
            self._warn(
                "The mean loss of the epoch was negative, which the weighting "
                f"{name} gives no weight, for the tasks:",
                {t: x for t, x in losses.items() if x < 0},
                "Add a constant to the loss, or choose a weighting for losses "
                "of any sign, as `equal` or `nash_mtl`.",
            )
        self._check_weights(weights, losses)

    def _check_weights(self, weights, losses):
        if not self._first_weights:
            self._first_weights = dict(weights)
        growth = {
            task: weight / self._first_weights[task]
            for task, weight in weights.items()
            if self._first_weights.get(task, 0.0)
        }
        # Those of some methods may be negative.
        bad = {t: x for t, x in growth.items() if abs(x) > MAX_GROWTH}
        reason = self._reason({task: losses.get(task) for task in bad})
        self._warn(
            "The mean weight of the epoch is so many times that of the first "
            "one, for the tasks:",
            bad,
            reason,
        )

    def _reason(self, losses):
        """Says why weights grow, and what to set."""
        weighting = self._weighting
        name = type(weighting).__name__
        if weighting.follows_logarithms:
            return (
                f"{name} divides by losses, which came close to 0: {losses}. "
                '`floor=0.1` bounds the weight; see "Weights that run away" '
                "in docs/training.md."
            )
        if weighting.needs_gradients and weighting.weigh_heads:
            return (
                f"{name} divides by the norms of gradients, which came close "
                "to 0. `weigh_heads=False` keeps that from the tasks' own "
                "layers, and `max_norm` from the shared ones."
            )
        return (
            "A smaller learning rate of the weighting, a fixed weight "
            "(`loss_weights`) or another weighting may help."
        )

    def _warn(self, what, values, advice):
        new = {
            task: float(x)
            for task, x in values.items()
            if (what, task) not in self._warned
        }
        if not new:
            return
        self._warned.update((what, task) for task in new)
        warnings.warn(f"{_prefix()}{what} {new}. {advice}", stacklevel=4)


def warn_without_labels(keys: Iterable[str]) -> None:
    """Warns of validation losses that are 0, as they are without labels.

    Args:
        keys: Their keys.
    """
    keys = sorted(keys)
    if keys:
        warnings.warn(
            f"{_prefix()}The validation losses {keys} are exactly 0 in all "
            "epochs, as they are where no example has a label of the task: "
            "they choose no epoch, and count as perfect in Δm. Validate on "
            "examples with labels of each task, or leave them out.",
            stacklevel=3,
        )


def _prefix() -> str:
    run = RUN.get()
    return "" if run is None else f"In the run {run}: "
