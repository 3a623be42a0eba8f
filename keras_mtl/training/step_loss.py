"""The loss of a step with gradient balancing, as `compute_loss` makes it."""

import collections

import keras

# The losses of the tasks, a list of scalars; the loss of the history; what is
# differentiated beside the losses, or `None`; and, where a subclass overrides
# `compute_loss`, the sum of the losses as the tensor of which it makes its own.
StepLoss = collections.namedtuple(
    "StepLoss", ["losses", "total", "penalty", "joint"]
)


def step_loss(model, batch, y_pred, cut, record=True, penalize=True):
    """Computes the loss of a training step, of which the tasks are a part.

    An override of `compute_loss` is a function of the sum of the task losses
    and of whatever else it takes. It gets the sum cut off from the losses, so
    that its own derivatives are found: that for the sum, a factor of what the
    weighting makes of the tasks' gradients, and those for the rest.

    Args:
        model: `MultiTaskModel`.
        batch: `(x, y, sample_weight)`.
        y_pred: Outputs.
        cut: Function of a tensor that returns an equal one through which no
            gradient passes.
        record: Whether the metrics get the losses.
        penalize: Whether to add the model's own losses to those of the tasks,
            where `compute_loss` is not overridden.

    Returns:
        A `StepLoss`.
    """
    x, y, sample_weight = batch
    if not model._overrides("compute_loss"):
        losses = model._losses_of(x, y, y_pred, sample_weight, record=record)
        penalty = model._compute_penalty() if penalize else None
        total = model._total_loss(losses, penalty)
        return StepLoss(losses, total, penalty, None)
    collector = Collector(cut, record)
    with model._running.within(collector=collector):
        total = model._compute_loss(
            x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True
        )
    if collector.losses is None:
        raise ValueError(
            "Expected a `compute_loss` that calls `super().compute_loss(...)`, "
            "whose task losses are balanced. Received: the `compute_loss` of "
            f"{type(model).__name__}, which does not"
        )
    return StepLoss(collector.losses, total, total, collector.joint)


class Collector:
    """Takes the task losses of the one call of `super().compute_loss`.

    Args:
        cut: As of `step_loss`.
        record: As of `step_loss`.
    """

    def __init__(self, cut, record):
        self._cut = cut
        self._record = record
        self.losses = None
        self.joint = None

    def loss(self, model, x, y, y_pred, sample_weight):
        """Computes the losses, and returns their sum with the penalties."""
        if self.losses is not None:
            raise ValueError(
                "Expected a `compute_loss` that calls `super().compute_loss` "
                "once, since gradient balancing compares one loss per task. "
                f"Received: that of {type(model).__name__}, which calls it "
                "again"
            )
        self.losses = model._losses_of(
            x, y, y_pred, sample_weight, record=self._record
        )
        self.joint = self._cut(model._total_loss(self.losses))
        return model._total_loss([self.joint], model._compute_penalty())


def losses_of_pass(model, data, training=True):
    """Computes the task losses of a batch in a pass of its own.

    Args:
        model: `MultiTaskModel`.
        data: `(x, y)` or `(x, y, sample_weight)`.
        training: Whether the layers behave as in training.

    Returns:
        List of scalars.
    """
    batch = keras.utils.unpack_x_y_sample_weight(data)
    y_pred = model(batch[0], training=training)
    cut = keras.ops.stop_gradient
    loss = step_loss(model, batch, y_pred, cut, record=False, penalize=False)
    return loss.losses
