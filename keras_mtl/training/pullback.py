"""What gradient balancing needs of a forward pass: its gradients."""

import abc
import collections

from keras import ops

from keras_mtl.backend.compiling import entries

# The losses of a batch before they are weighted, a list of scalars; the loss of
# the history; the outputs; and the `Pullback`.
ForwardPass = collections.namedtuple(
    "ForwardPass", ["losses", "total", "y_pred", "pullback"]
)


class Pullback(abc.ABC):
    """The gradients of one forward pass through trunk and heads.

    They are those of the task losses times the loss scale of mixed precision.
    A gradient that is zero for the structure of the graph may be `None`.

    Attributes:
        is_fused: Whether XLA compiles the step.
        few_rows: The number of tasks up to which XLA takes less time for the
            inner product of each pair of features than for one product of
            matrices.
    """

    is_fused = False
    few_rows = 4

    @abc.abstractmethod
    def heads(self):
        """Returns the gradients of each task's loss through its head.

        Returns:
            Tuple of dicts: of `(key, task)` to the gradient for the copy of a
            boundary tensor, and of task to the list of the gradients for its
            own variables.
        """

    @abc.abstractmethod
    def trunk(self, cotangents, variables):
        """Pulls cotangents, dict of boundary key to tensor, to variables."""

    @abc.abstractmethod
    def loss(self, task, variables):
        """Returns the gradients of a task's loss through its head alone."""

    @abc.abstractmethod
    def weighted(self, weights, variables):
        """Returns the gradients of the weighted sum of the losses by the heads.

        Args:
            weights: Tensor of shape `(T,)`.
            variables: List of variables.
        """

    @abc.abstractmethod
    def penalty(self, variables):
        """Returns the gradients of regularizers and `add_loss`.

        They are those of all that `compute_loss` adds, where it is overridden.

        Returns:
            Tuple of the list of the gradients for `variables`, and the dict of
            those for the copies of the boundary tensors.
        """

    @abc.abstractmethod
    def factor(self):
        """Returns the derivative of the loss for the sum of the task losses.

        Returns:
            A scalar, or `None` for 1, where `compute_loss` is not overridden.
        """

    def stack(self, rows):
        """Stacks a list of gradients, and may empty it.

        Then the rows and their matrix are never all in memory at once.
        """
        return ops.stack(rows)


class RecordedPullback(Pullback):
    """The gradients of a forward pass that the backend has recorded.

    A backend overrides `gradients`.

    Args:
        split: `GraphSplit`.
        values: Dict of key to tensor, the trunk's outputs.
        copies: Dict of `(key, task)` to tensor, what the heads took instead.
        loss: `StepLoss`.
        scale: Scalar, the loss scale.
    """

    def __init__(self, split, values, copies, loss, scale):
        self._split = split
        self._values = values
        self._copies = copies
        self._losses = dict(zip(split.tasks, loss.losses))
        self._loss = loss
        self._scale = scale
        self._rows = {}

    @abc.abstractmethod
    def gradients(self, targets, variables, cotangents=None):
        """Returns the gradients of the sum of targets times cotangents."""

    def heads(self):
        if self._split.is_of_losses:
            return {}, self._heads_of_losses()
        # No copy and no such variable belongs to two tasks, so that one
        # backward pass through all heads gives the gradients of each.
        own = self._split.head_variables
        variables = [v for task in self._split.tasks for v in own[task]]
        foreign = []
        if not self._split.is_checked:
            foreign, _ = self._split.foreign(self._split.tasks)
        sources = [*self._copies.values(), *variables, *foreign]
        gradients = iter(self._of_sum(sources))
        copies = {name: next(gradients) for name in self._copies}
        of_heads = {t: [next(gradients) for _ in own[t]] for t in own}
        if not self._split.is_checked:
            reached = [v for v, g in zip(foreign, gradients) if g is not None]
            self._split.check(self._split.tasks, reached)
            self._check_each_task()
        return copies, of_heads

    def _check_each_task(self):
        """Checks that no loss depends on the head of another task."""
        split = self._split
        for task in split.tasks if split.has_code_around else ():
            variables, copies = split.foreign([task])
            sources = [*variables, *[self._copies[name] for name in copies]]
            gradients = self.loss(task, sources)
            pairs = zip(variables + copies, gradients)
            split.check([task], [x for x, g in pairs if g is not None])
        split.is_checked = True

    def trunk(self, cotangents, variables):
        given = {k: g for k, g in cotangents.items() if g is not None}
        targets = [self._values[key] for key in given]
        return self.gradients(targets, variables, [*given.values()])

    def loss(self, task, variables):
        row = self._rows.get(task, {})
        if all(id(v) in row for v in variables):
            # What is kept here could not leave the memory elsewhere.
            return [row.pop(id(v)) for v in variables]
        return self._times([self._losses[task]], [self._scale], variables)

    def weighted(self, weights, variables):
        scales = [self._scale * weight for weight in entries(weights)]
        return self._times([*self._losses.values()], scales, variables)

    def _of_sum(self, variables):
        """Returns the gradients of the sum of the losses."""
        scales = [self._scale] * len(self._losses)
        return self._times([*self._losses.values()], scales, variables)

    def _times(self, targets, factors, variables):
        """Returns the gradients of the sum of scalars times factors."""
        cotangents = [
            ops.cast(factor, target.dtype)
            for factor, target in zip(factors, targets)
        ]
        return self.gradients(targets, variables, cotangents)

    def _heads_of_losses(self):
        """Returns the gradients of each task's own variables.

        Without a graph, the gradients tell which variables are whose.
        """
        split = self._split
        if split.keeps_rows or not split.is_sorted:
            ids = list(map(id, split.variables))
            rows = {
                task: dict(zip(ids, self.loss(task, split.variables)))
                for task in split.tasks
            }
            split.sort(
                [
                    {i for i in ids if row[i] is not None}
                    for row in rows.values()
                ]
            )
            self._rows = rows if split.keeps_rows else {}
        own = split.head_variables
        if split.keeps_rows:
            return {task: self.loss(task, own[task]) for task in own}
        variables = [v for task in own for v in own[task]]
        gradients = iter(self._of_sum(variables))
        return {task: [next(gradients) for _ in own[task]] for task in own}

    def penalty(self, variables):
        if self._loss.penalty is None:
            return [None] * len(variables), {}
        sources = [*variables, *self._copies.values()]
        gradients = self._times([self._loss.penalty], [self._scale], sources)
        copies = dict(zip(self._copies, gradients[len(variables) :]))
        return gradients[: len(variables)], copies

    def factor(self):
        if self._loss.joint is None:
            return None
        (factor,) = self.gradients([self._loss.total], [self._loss.joint])
        return 0.0 if factor is None else factor
