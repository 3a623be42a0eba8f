"""The arguments `loss` and `loss_weights` of `compile`, by output."""

import numbers
from collections.abc import Sequence
from typing import Any

from keras_mtl.losses.by_output import by_output


def losses_by_output(loss: Any, names: Sequence[str]) -> dict[str, Any]:
    """Returns the loss of each output, in the order of the tasks.

    Args:
        loss: Dict of output name to loss, list with one loss per output, or
            one loss for all outputs. An output without an entry in the dict
            has none.
        names: Names of the outputs.

    Raises:
        ValueError: If a loss names no output, or a list has another length.
    """
    if loss is None:
        raise ValueError(
            "Expected `loss` to be a dict with one loss per output, that "
            f"is for {names}. Received: loss=None"
        )
    if isinstance(loss, dict):
        _check_names(loss, names)
    elif isinstance(loss, (list, tuple)):
        loss = by_output("`loss`", loss, names)
    else:
        loss = dict.fromkeys(names, loss)
    for name, value in loss.items():
        if isinstance(value, (list, tuple, dict)):
            raise ValueError(
                f"Expected one loss for the task {name!r}. Received: {value}"
            )
    return loss


def factors_by_task(
    loss_weights: Any, tasks: Sequence[str], names: Sequence[str]
) -> dict[str, float | None]:
    """Returns the constant factor of each task's loss, `None` for 1.

    Args:
        loss_weights: Dict of output name to number, list with one number per
            output, or `None`.
        tasks: Names of the tasks.
        names: Names of the outputs.

    Raises:
        ValueError: If an entry names no output, or is no number.
    """
    if loss_weights is None:
        return dict.fromkeys(tasks)
    factors = loss_weights
    if not isinstance(factors, dict):
        factors = by_output("`loss_weights`", factors, names)
    unknown = [name for name in factors if name not in names]
    if unknown:
        raise ValueError(
            f"`loss_weights` has keys that are no output: {unknown}. The "
            f"outputs are {names}. Received: loss_weights={loss_weights}"
        )
    for name, factor in factors.items():
        if factor is not None and not isinstance(factor, numbers.Real):
            raise ValueError(
                f"Expected the entry of `loss_weights` for {name!r} to be "
                f"a number. Received: {factor} of type {type(factor)}"
            )
    return {task: factors.get(task) for task in tasks}


def _check_names(loss, names):
    unknown = [name for name in loss if name not in names]
    if unknown:
        raise ValueError(
            f"`loss` has keys that are no output: {unknown}. The "
            f"outputs are {names}. Received: loss={loss}"
        )
