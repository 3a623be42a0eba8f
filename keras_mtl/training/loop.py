"""A weighting in a training loop that is not `fit`."""

import weakref

from keras import ops

from keras_mtl.losses.scalars import by_task
from keras_mtl.losses.scalars import check_are_several
from keras_mtl.losses.scalars import check_is_scalar
from keras_mtl.training.loss_split import LossSplit
from keras_mtl.training.parameter_groups import check_are_one_group
from keras_mtl.weightings.weighting import Weighting

# The weightings that loops use, each with the tasks that it has seen.
_LOOPS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


class Loop:
    """What is known of a weighting from one step of a loop to the next.

    Args:
        weighting: `Weighting`.

    Attributes:
        tasks: List of the names of the tasks, `None` before the first step.
        is_checked: Whether each loss was seen to depend on a variable.
    """

    def __init__(self, weighting):
        self._weighting = weakref.ref(weighting)
        self.tasks = None
        self.is_checked = False
        self._split = None

    def in_order(self, losses):
        """Returns the losses as a list, in the order of the first step.

        Args:
            losses: Dict of task to scalar, or list of scalars.

        Raises:
            ValueError: If they are not scalars, or of other tasks than before.
        """
        named = by_task(losses)
        for task, loss in named.items():
            check_is_scalar(task, loss)
        if self.tasks is None:
            self._begin(list(named))
        elif set(named) != set(self.tasks):
            raise ValueError(
                "Expected losses of the same tasks in each step, "
                f"{self.tasks}, whose states the weighting has. Received: "
                f"losses of {list(named)}. A task without a label in a batch "
                "has a loss of 0; for other tasks, make another weighting."
            )
        return [named[task] for task in self.tasks]

    def _begin(self, tasks):
        check_are_several(tasks)
        weighting = self._weighting()
        if weighting.built and weighting.num_tasks != len(tasks):
            raise ValueError(
                f"Expected the losses of the {weighting.num_tasks} tasks for "
                f"which {type(weighting).__name__} is in use. Received: losses "
                f"of {tasks}"
            )
        weighting.name_tasks(tasks)
        self.tasks = tasks

    def new_split(self, variables, shared):
        """Makes a `LossSplit` of the variables of this step."""
        weighting = self._weighting()
        keeps_rows = (
            weighting.needs_gradients
            and weighting.measurement.update_every == 1
        )
        return LossSplit(self.tasks, variables, shared, keeps_rows)

    def split(self, variables, shared):
        """Returns the `LossSplit` of the last step, if it had these variables.

        It knows which of them are shared.
        """
        key = list(map(id, variables)), list(map(id, shared or ()))
        if self._split is None or self._split[0] != key:
            self._split = key, self.new_split(variables, shared)
        return self._split[1]


def loop_of(weighting):
    """Returns the `Loop` of a weighting.

    Raises:
        ValueError: If it is no `Weighting`, measures part of a batch, weighs
            groups of variables apart, or needs losses at other parameters or
            on validation data.
    """
    if not isinstance(weighting, Weighting):
        raise ValueError(
            "Expected a `Weighting`, which has a state from step to step: "
            "before the loop, type `weighting = keras_mtl.weightings.get("
            f"{weighting!r})`. Received: weighting={weighting!r}"
        )
    if weighting.needs_gradients and weighting.measurement.gramian_batch < 1:
        raise ValueError(
            "Expected gramian_batch=1, since the losses of a loop are those of "
            "a whole batch: use `update_every`, or compute other losses of a "
            "part of the batch. Received: "
            f"gramian_batch={weighting.measurement.gramian_batch}"
        )
    if weighting.needs_gradients and weighting.perturbs:
        raise ValueError(
            "Expected a weighting of gradients where the parameters are, since "
            "a loop computes its losses there alone; in `fit`, "
            f"{type(weighting).__name__} computes them elsewhere, too. "
            f"Received: {weighting}"
        )
    if weighting.needs_validation:
        raise ValueError(
            "Expected a weighting that needs no validation data, since a loop "
            "has one batch alone; `fit` takes them, as `validation_for_"
            f"weighting`. Received: {weighting}"
        )
    check_are_one_group(weighting)
    if weighting not in _LOOPS:
        _LOOPS[weighting] = Loop(weighting)
    return _LOOPS[weighting]


def stacked(losses):
    """Returns what a weighting sees of a list of losses, shape `(T,)`."""
    losses = [ops.cast(loss, "float32") for loss in losses]
    return ops.stop_gradient(ops.stack(losses))
