from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.present_tasks import present
from keras_mtl.weightings.registry import WEIGHTINGS
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting
from keras_mtl.weightings.wrapper import Wrapper

# The average of a task that has had no label.
UNSEEN = -1.0


@register(
    "cr_mogm",
    package="keras_mtl",
    paper="Zhou et al., Stochastic Multi-Objective Gradient Manipulation",
    year=2022,
    cost="that of its part",
    when="A method's weights jump between batches: averages them.",
)
class CRMOGM(Wrapper, GradientWeighting):
    """CR-MOGM: the weights of another method, averaged over the steps.

    λ ← α λ + (1 − α) λ̂, with λ̂ the weights that a gradient-balancing method
    gives in this step. Averaged, they depend less on the noise of the batch to
    which they are applied. λ begins as the first λ̂. A task without a label in
    the batch, whose gradient is zero, keeps its λ. Many methods then divide its
    weight among the other tasks; the λ and λ̂ of those are therefore divided by
    their sums before they are averaged.

    Args:
        weighting: The method that gives λ̂, or what `keras_mtl.weightings.get`
            takes. Its `update_every` must be 1.
        alpha: Weight α of the past, in [0, 1). The paper lets it grow to 1 as
            the learning rate decays; here it is constant.
        **kwargs: See `GradientWeighting`; `gradients`, `shared`,
            `gramian_batch`, `weigh_heads`, `max_norm` and `rescale="sum"` are
            those of `weighting` by default; where it alone is rescaled, it has
            no `max_norm`.

    Example:

    >>> nash = keras_mtl.weightings.NashMTL(max_norm=None)
    >>> smooth = keras_mtl.weightings.CRMOGM(nash, alpha=0.5)
    >>> smooth(np.ones(2), np.array([[1.0, 0.0], [0.0, 4.0]]))
    [1.0, 0.5]
    >>> smooth(np.ones(2), np.array([[4.0, 0.0], [0.0, 1.0]]))
    [0.75, 0.75]

    Reference:
        - [Zhou et al., 2022](https://openreview.net/forum?id=ScwfQ7hdwyP),
          Algorithm 1.
    """

    # Only weighted sums of gradients are wrapped.
    needs_gradients = True
    is_linear = True
    # The wrapper counts the steps between its own updates.
    is_due = GradientWeighting.is_due

    def __init__(
        self, weighting: Any = "mgda", alpha: float = 0.9, **kwargs: Any
    ) -> None:
        weighting = WEIGHTINGS.get(weighting, "weighting")
        if not isinstance(weighting, GradientWeighting) or not (
            weighting.is_linear
            and weighting.groups == "model"
            and weighting.num_parts == 1
            and weighting.measurement.update_every == 1
        ):
            raise ValueError(
                "Expected `weighting` to be a gradient-balancing method whose "
                "direction is a weighted sum of the gradients of the whole "
                'model (groups="model") and the whole batch, with '
                "`update_every=1`. "
                f"Received: weighting={weighting}"
            )
        measurement = weighting.measurement
        inherited = {
            "gradients": measurement.gradients,
            "shared": measurement.shared,
            "gramian_batch": measurement.gramian_batch,
            "max_norm": measurement.max_norm,
            "weigh_heads": weighting.weigh_heads,
        }
        if weighting.rescale == "sum":
            # The average of rescaled weights has another norm.
            inherited["rescale"] = "sum"
        elif kwargs.get("rescale") == "sum":
            # The bound of a direction that is not rescaled is too small.
            del inherited["max_norm"]
        super().__init__(**{**inherited, **kwargs})
        self.weighting = weighting
        self.alpha = checks.fraction("alpha", alpha, "[0, 1)")

    def _parts(self) -> list[Weighting]:
        return [self.weighting]

    def build_state(self, num_tasks: int) -> None:
        super().build_state(num_tasks)
        self.average = self.add_state((num_tasks,), name="average")
        self.started = self.add_state(name="started")

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        weights = self.weighting(losses, gramian)
        labelled = present(gramian)
        if self.needs_positive_losses:
            labelled = ops.logical_and(labelled, losses > TINY)
        average = ops.convert_to_tensor(self.average)
        seen = ops.logical_and(self.started > 0, average >= 0)
        known = ops.logical_and(labelled, seen)
        unit = _unit(weights, average, known)
        # A task with its first labels takes its part from the others, for ever.
        enters = ops.any(ops.logical_and(labelled, ops.logical_not(seen)))
        average = ops.where(
            seen, average * ops.where(enters, unit, 1.0), UNSEEN
        )
        absent = ops.any(ops.logical_and(seen, ops.logical_not(labelled)))
        shares = ops.logical_and(absent, ops.logical_not(enters))
        unit = ops.where(shares, unit, 1.0)
        past = ops.where(known, self.alpha, 0.0)
        new = past * average + (1.0 - past) * weights / unit
        average = ops.where(labelled, new, average)
        self.average.assign(average)
        self.started.assign(ops.ones(()))
        return ops.where(labelled, unit * average, 0.0)

    def head_weights(self) -> Tensor:
        if self.weigh_heads:
            return ops.convert_to_tensor(self.task_weights)
        inner = self.weighting
        if inner.weigh_heads:
            return inner._plain_head_weights()
        return inner.head_weights()


def _unit(weights, average, known):
    """Returns the sum of known weights over that of their averages."""
    total, past = (
        ops.sum(ops.where(known, x, 0.0)) for x in (weights, average)
    )
    comparable = ops.logical_and(total > 0, past > 0)
    return ops.where(comparable, total / ops.where(past > 0, past, 1.0), 1.0)
