"""The base class of the weightings that are made of others."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.weighting import Weighting


class Forwarded:
    """Attribute of a wrapper, made of that attribute of its parts.

    An attribute that a wrapper sets on itself wins over it.

    Args:
        combined: Function of the list of parts and the name of the attribute.
    """

    def __init__(self, combined: Callable[[list, str], Any]) -> None:
        self._combined = combined

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, wrapper: Any, owner: type) -> Any:
        if wrapper is None:
            return self
        return self._combined(wrapper._parts(), self._name)


def _of_last(parts, name):
    return getattr(parts[-1], name)


def _of_any(parts, name):
    return any(getattr(part, name) for part in parts)


def _joined(parts, name):
    return sum((getattr(part, name) for part in parts), [])


def _call_each(parts, name):
    def call_each(*args):
        for part in parts:
            getattr(part, name)(*args)

    return call_each


def _join_calls(parts, name):
    return lambda: sum((getattr(part, name)() for part in parts), [])


class Wrapper(Weighting):
    """Base class of the weightings that are made of other weightings.

    Whatever a model asks of a weighting is answered by its parts, each hook of
    `Weighting` and `GradientWeighting` by one line below. A subclass overrides
    what it does itself. The last part balances gradients.
    """

    # The parts have the variables of their learning rates.
    needs_learning_rate = False

    needs_gradients = Forwarded(_of_last)
    needs_positive_losses = Forwarded(_of_any)
    needs_epochs = Forwarded(_of_any)
    needs_losses_after = Forwarded(_of_any)
    needs_validation = Forwarded(_of_any)
    balances_logarithms = Forwarded(_of_any)
    divides_by_losses = Forwarded(_of_any)
    follows_logarithms = Forwarded(_of_any)
    learning_rate_variables = Forwarded(_joined)
    untracked_variables = Forwarded(_join_calls)
    _unguarded_variables = Forwarded(_join_calls)
    name_tasks = Forwarded(_call_each)
    on_epoch_begin = Forwarded(_call_each)
    on_epoch_end = Forwarded(_call_each)

    measurement = Forwarded(_of_last)
    weigh_heads = Forwarded(_of_last)
    is_linear = Forwarded(_of_last)
    is_due = Forwarded(_of_last)
    groups = Forwarded(_of_last)
    num_parts = Forwarded(_of_last)
    num_groups = Forwarded(_of_last)
    weights_of_groups = Forwarded(_of_last)
    _gramian_shapes = Forwarded(_of_last)
    combine = Forwarded(_of_last)
    perturbs = Forwarded(_of_last)
    perturb = Forwarded(_of_last)

    aggregate = GradientWeighting.aggregate
    combining = GradientWeighting.combining

    def _parts(self) -> list[Weighting]:
        """Lists the weightings inside, in the order of their calls."""
        raise NotImplementedError

    def build(
        self, losses_shape: tuple, gramian_shape: tuple | None = None
    ) -> None:
        last = self._parts()[-1]
        if last.needs_gradients and not last.built:
            # It may depend on the number of groups.
            last.build(losses_shape, gramian_shape)
        super().build(losses_shape, gramian_shape)

    def build_state(self, num_tasks: int) -> None:
        for weighting in self._parts():
            if not weighting.built:
                weighting.build((num_tasks,))

    def head_weights(self) -> Tensor:
        weights = 1.0
        for weighting in self._parts():
            weights = weights * weighting.head_weights()
        return weights

    def before_step(
        self, slopes: Callable[..., Tensor], learning_rate: Tensor
    ) -> None:
        for weighting in self._parts():
            if weighting.needs_validation:
                weighting.before_step(slopes, learning_rate)

    def after_step(self, losses: Tensor) -> None:
        weights = ops.ones_like(losses)
        for weighting in self._parts():
            if weighting.needs_losses_after:
                weighting.after_step(weights * losses)
            weights = weights * weighting.task_weights
