from keras import ops


class Pullback:
    """The gradients that `balancing` needs, from a tape of one forward pass.

    A backend gives `gradients(targets, variables, cotangents=None)`: the
    gradients of the sum of the targets, each times its cotangent.

    Args:
        split: `GraphSplit`.
        values: Dict of key to tensor, the trunk's outputs.
        copies: Dict of `(key, task)` to tensor, what the heads took instead.
        losses: List of scalars, the losses of the tasks times the loss scale.
        penalty: Scalar, regularizers and `add_loss` times the loss scale, or
            `None`.
    """

    is_fused = False

    def __init__(self, split, values, copies, losses, penalty):
        self._split = split
        self._values = values
        self._copies = copies
        self._losses = dict(zip(split.tasks, losses))
        self._penalty = penalty

    def gradients(self, targets, variables, cotangents=None):
        raise NotImplementedError

    def stack(self, rows):
        """Stacks a list of gradients, and may empty it."""
        return ops.stack(rows)

    def heads(self):
        """Returns the gradients for the copies and the tasks' own variables.

        No copy and no such variable belongs to two tasks, so that one backward
        pass through all heads gives the gradients of each.
        """
        own = self._split.head_variables
        variables = [v for task in self._split.tasks for v in own[task]]
        sources = [*self._copies.values(), *variables]
        gradients = iter(self.gradients([*self._losses.values()], sources))
        copies = {name: next(gradients) for name in self._copies}
        return copies, {t: [next(gradients) for _ in own[t]] for t in own}

    def trunk(self, cotangents, variables):
        """Pulls cotangents, dict of key to tensor, back through the trunk."""
        given = {k: g for k, g in cotangents.items() if g is not None}
        targets = [self._values[key] for key in given]
        return self.gradients(targets, variables, [*given.values()])

    def loss(self, task, variables):
        """Returns the gradients of a task's loss through its head alone."""
        return self.gradients([self._losses[task]], variables)

    def penalty(self, variables):
        """Returns the gradients of the penalty for variables and copies."""
        if self._penalty is None:
            return [None] * len(variables), {}
        sources = [*variables, *self._copies.values()]
        gradients = self.gradients([self._penalty], sources)
        copies = dict(zip(self._copies, gradients[len(variables) :]))
        return gradients[: len(variables)], copies
