import keras
import numpy as np
from keras import ops

from keras_mtl.weightings.weighting import Weighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class Chain(Weighting):
    """Loss balancing, then gradient balancing.

    The loss-balancing methods give the weights λ; the gradient-balancing method
    then sees the losses λ L and the gradients of λ L. The shared parameters
    follow both, the tasks' own parameters λ alone, also where the
    gradient-balancing method has `weigh_heads`.

    `weighting=["igb_v1", "nash_mtl"]` makes one.

    Args:
        weightings: List of weightings, or what `keras_mtl.weightings.get`
            takes. The last one balances gradients, all others losses.

    Reference:
        - [Dai et al., 2023](https://arxiv.org/abs/2307.15429), Algorithm 3.
    """

    paper = "Dai et al., Improvable Gap Balancing for Multi-Task Learning"
    year = 2023
    cost = "that of its parts"

    def __init__(self, weightings, **kwargs):
        from keras_mtl.weightings import get

        if kwargs.get("scale_invariant"):
            raise ValueError(
                "`scale_invariant` belongs to the loss balancing in a chain. "
                "Received: scale_invariant=True for Chain"
            )
        super().__init__(**kwargs)
        self.weightings = [get(weighting) for weighting in weightings]
        kinds = [w.needs_gradients for w in self.weightings]
        if len(kinds) < 2 or not kinds[-1] or any(kinds[:-1]):
            names = [type(w).__name__ for w in self.weightings]
            raise ValueError(
                "Expected a chain of loss-balancing methods and, last, one "
                f"gradient-balancing method. Received: {names}"
            )

    def build_state(self, num_tasks):
        for weighting in self.weightings:
            if not weighting.built:
                weighting.build((num_tasks,))

    def call(self, losses, gramian=None):
        self._check_shapes(losses, gramian)
        valid = ops.all(ops.isfinite(gramian))
        # Each part looks at its losses, and keeps its state by itself.
        losses = ops.where(valid, losses, np.nan)
        weights = ops.ones_like(losses)
        for weighting in self.weightings:
            known = [weights * losses]
            if weighting.needs_gradients:
                known.append(weights[:, None] * gramian * weights)
            weights = weights * weighting(*known)
        self.task_weights.assign(weights)
        return weights

    def after_step(self, losses):
        weights = ops.ones_like(losses)
        for weighting in self.weightings:
            if weighting.needs_losses_after:
                weighting.after_step(weights * losses)
            weights = weights * weighting.task_weights

    def head_weights(self):
        weights = 1.0
        for weighting in self.weightings[:-1]:
            weights = weights * weighting.head_weights()
        return weights

    def on_epoch_begin(self):
        for weighting in self.weightings:
            weighting.on_epoch_begin()

    def on_epoch_end(self):
        for weighting in self.weightings:
            weighting.on_epoch_end()

    def untracked_variables(self):
        parts = [w.untracked_variables() for w in self.weightings]
        return sum(parts, [])

    @property
    def learning_rate_variables(self):
        parts = [w.learning_rate_variables for w in self.weightings]
        return sum(parts, [])

    @property
    def needs_losses_after(self):
        return any(w.needs_losses_after for w in self.weightings)

    @property
    def needs_epochs(self):
        return any(w.needs_epochs for w in self.weightings)

    @property
    def needs_positive_losses(self):
        return any(w.needs_positive_losses for w in self.weightings)

    # What the model asks a gradient-balancing method is for the last one.

    needs_gradients = True

    @property
    def gradients(self):
        return self.weightings[-1].gradients

    @property
    def shared(self):
        return self.weightings[-1].shared

    @property
    def update_every(self):
        return self.weightings[-1].update_every

    @property
    def gramian_batch(self):
        return self.weightings[-1].gramian_batch

    @property
    def is_linear(self):
        return self.weightings[-1].is_linear

    def combine(self, matrix, weights):
        if self.is_linear:
            return ops.matmul(weights, matrix)
        last = self.weightings[-1]
        rows = ops.reshape(self.head_weights(), (-1, 1)) * matrix
        return last.combine(rows, ops.convert_to_tensor(last.task_weights))

    def is_due(self):
        return self.weightings[-1].is_due()

    @property
    def max_norm(self):
        return self.weightings[-1].max_norm

    def scale_of_norm(self, norm):
        return self.weightings[-1].scale_of_norm(norm)

    def direction_scale(self, weights, gramian):
        return self.weightings[-1].direction_scale(weights, gramian)
