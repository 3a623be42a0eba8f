"""The gradients of the tasks, each at parameters of its own near by."""

from keras import ops

from keras_mtl.backend import replicas
from keras_mtl.backend.numerics import scaled
from keras_mtl.training.loss_split import LossSplit
from keras_mtl.training.pullback import Pullback
from keras_mtl.training.task_gradients import TaskGradients


def at_own_parameters(split, weighting, pullback, surroundings, scale):
    """Computes the gradients of the tasks where the weighting moves them.

    Args:
        split: `GraphSplit` or `LossSplit` of the step.
        weighting: `GradientWeighting` that perturbs.
        pullback: `Pullback` of the step, at the parameters themselves.
        surroundings: `Surroundings` of the batch.
        scale: Scalar, the loss scale, by which its gradients are multiplied.

    Returns:
        Tuple of a `LossSplit` and a `Pullback`, of those gradients.
    """
    if replicas.count() > 1:
        raise ValueError(
            f"Expected one replica for {type(weighting).__name__}, each task "
            "of which computes its gradients at parameters of its own. "
            f"Received: {replicas.count()} replicas"
        )
    mean, of_heads = _at_the_parameters(split, weighting, pullback, scale)
    whole = _split_without_boundary(split)
    shared = whole.shared_variables
    gradients = [mean.get(id(v)) for v in shared]
    rows = {}
    for i, task in enumerate(split.tasks):
        own = whole.head_variables[task]
        moved = weighting.perturb(
            gradients,
            [of_heads[id(v)] for v in own],
            _change_of_loss(surroundings, i, shared),
        )
        variables = [*shared, *own]
        alone = [1.0 if task == t else None for t in split.tasks]
        found = surroundings.gradients(alone, variables, [*moved[0], *moved[1]])
        rows[task] = dict(zip(map(id, variables), found))
    return whole, _RowsPullback(whole, rows, pullback)


def _change_of_loss(surroundings, index, variables):
    """Returns the function of changes d that gives L(θ + d) − L(θ − d)."""

    def change(changes):
        forth, back = (
            surroundings.losses(
                variables, [scaled(x, sign) for x in changes], training=False
            )
            for sign in (1.0, -1.0)
        )
        return forth[index] - back[index]

    return change


def _at_the_parameters(split, weighting, pullback, scale):
    """Returns the gradients of the mean loss, and of each loss for its head.

    Both are dicts of the ids of the variables.
    """
    tasks = TaskGradients(split, weighting, pullback, loss_scale=scale)
    weights = ops.ones((len(split.tasks),)) / len(split.tasks)
    features = tasks.combined_features(lambda block: block.combine(weights))
    mean = tasks.pull_back(features, weights)
    of_heads = {
        id(v): g
        for task in split.tasks
        for v, g in zip(split.head_variables[task], tasks.of_heads[task])
    }
    return mean, of_heads


def _split_without_boundary(split):
    """Returns the split of losses that are differentiated as a whole."""
    shared = set(map(id, split.shared_variables))
    whole = LossSplit(split.tasks, split.variables)
    whole.sort(
        [
            shared | set(map(id, split.head_variables[task]))
            for task in split.tasks
        ]
    )
    return whole


class _RowsPullback(Pullback):
    """The gradients of the tasks' losses, which are all computed.

    Args:
        split: `LossSplit`.
        rows: Dict of task to a dict of the id of a variable to the gradient.
        base: The `Pullback` of the step, whose derivative for the sum of the
            losses is kept.
    """

    def __init__(self, split, rows, base):
        self._split = split
        self._rows = rows
        self._base = base
        self.is_fused = base.is_fused
        self.few_rows = base.few_rows

    def heads(self):
        own = self._split.head_variables
        return {}, {task: self.loss(task, own[task]) for task in own}

    def trunk(self, cotangents, variables):
        return []

    def loss(self, task, variables):
        # What is kept here could not leave the memory elsewhere.
        return [self._rows[task].pop(id(v)) for v in variables]

    def weighted(self, weights, variables):
        raise NotImplementedError

    def penalty(self, variables):
        return self._base.penalty(variables)

    def factor(self):
        return self._base.factor()

    def stack(self, rows):
        return self._base.stack(rows)
