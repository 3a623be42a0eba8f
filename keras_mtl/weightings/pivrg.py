import math
import warnings
from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.fairgrad import fair_weights
from keras_mtl.weightings.bargaining import Bargaining
from keras_mtl.weightings.measurement import default_max_norm
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting
from keras_mtl.weightings.wrapper import Wrapper

# The α of the fairness, for which the preferences are a change of scale.
ALPHA = 2.0


@register(
    "pivrg",
    package="keras_mtl",
    paper="Qin et al., Revisiting Fairness in Multitask Learning",
    year=2025,
    when="As fairgrad; tasks behind their single-task model lead.",
)
class PIVRG(Bargaining):
    """PIVRG: fair shares, with preference for what falls behind.

    The weights v > 0 solve G v = (p / v)^(1/2), with G the Gramian of the
    gradients: `FairGrad` with α = 2 and with preferences
    p = T softmax(s / τ). The score s of a task is its relative change for the
    worse against a model of this task alone, in percent. The temperature τ is
    the larger one of `min_temperature` and (max s - min s) / log `bound`, with
    which no preference is more than `bound` times another.

    The scores come from outside: `keras_mtl.callbacks.TaskScores` computes them
    from the results of each epoch, and `set_scores` takes others. Without
    scores all preferences are 1, and the method is `FairGrad`; `fit` warns when
    a second epoch begins so. What `FairGrad` says of its limit of the norm and
    of Pareto-stationary points holds here, too.

    Args:
        bound: Largest ratio of two preferences, above 1.
        min_temperature: Least τ, in percent. The official experiments have 10
            for NYUv2 and CelebA, and with a bound of 1.8 20 for Cityscapes and
            100 for QM9.
        max_norm: Largest norm of the direction on the shared variables, or
            `None`. By default 1, that of the official code, with
            `rescale="sum"` `None`.
        **kwargs: See `GradientWeighting` (`gradients`, `shared`,
            `update_every`, `weigh_heads`).

    Example:

    >>> pivrg = keras_mtl.weightings.PIVRG(max_norm=None)
    >>> pivrg(np.ones(2), np.eye(2))
    [1.0, 1.0]
    >>> pivrg.set_scores([0.0, 40.0])  # The second one is worse than alone.
    >>> pivrg(np.ones(2), np.eye(2))  # The preferences are 2 / 3 and 4 / 3.
    [0.8735805, 1.1006424]

    Reference:
        - Qin et al., Revisiting Fairness in Multitask Learning: A
          Performance-Driven Approach for Variance Reduction, CVPR 2025, and
          `PIVRG` of its [official code](https://github.com/jianke0604/MTLlib).
    """

    needs_epochs = True

    def __init__(
        self,
        bound: float = 2.0,
        min_temperature: float = 10.0,
        max_norm: float | str | None = "auto",
        **kwargs: Any,
    ) -> None:
        limit: Any = default_max_norm(max_norm, kwargs.get("rescale"))
        super().__init__(max_norm=limit, **kwargs)
        self.bound = checks.positive("bound", bound)
        if bound <= 1:
            raise ValueError(
                "Expected `bound`, the largest ratio of two preferences, to be "
                f"a number above 1. Received: bound={bound}"
            )
        self.min_temperature = checks.positive(
            "min_temperature", min_temperature
        )
        # Whether scores came, or a callback promises them.
        self.expects_scores = False
        self._epochs = 0

    def build_state(self, num_tasks: int) -> None:
        self.scores = self.add_state((num_tasks,), name="scores")

    def set_scores(self, scores: Sequence[float]) -> None:
        """Sets the scores, from which the preferences follow.

        Args:
            scores: List or array of shape `(T,)`, in the order of the tasks:
                how much worse each task is than alone, in percent.

        Raises:
            ValueError: If there is not one finite number for each task.
        """
        values = checks.numbers_of("scores", scores)
        if not self.built:
            self.build((len(values),))
        checks.one_per_task("scores", values, self.num_tasks)
        self.scores.assign(values)
        self.expects_scores = True

    def preferences(self) -> Tensor:
        """Returns the preferences, a tensor of shape `(T,)` with sum T."""
        scores = ops.convert_to_tensor(self.scores)
        spread = ops.max(scores) - ops.min(scores)
        temperature = ops.maximum(
            spread / math.log(self.bound), self.min_temperature
        )
        return self.num_tasks * ops.softmax(scores / temperature)

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        # With u = p v, the equation is that of FairGrad for the gradients
        # divided by p.
        scales = 1.0 / self.preferences()
        scaled = scales[:, None] * gramian * scales
        weights = fair_weights(scaled, ALPHA)
        weights = scales * self._bounded(scaled, weights, 1.0 / ALPHA)
        if self.weigh_heads:
            self.of_heads.assign(scales * self.of_heads)
        return weights

    def on_epoch_begin(self) -> None:
        has_scores = self.expects_scores or not self.built
        if self._epochs == 1 and not has_scores:
            if not ops.convert_to_numpy(self.scores).any():
                warnings.warn(
                    "`PIVRG` has had no scores in the first epoch, and is "
                    "FairGrad so far. Pass the results of models of one task "
                    "each: `callbacks=[keras_mtl.callbacks.TaskScores({"
                    '"<task>_loss": 0.5, ...})]`, or call `set_scores`.',
                    stacklevel=2,
                )
        self._epochs += 1


def with_scores(weighting: Weighting) -> list[PIVRG]:
    """Returns the methods that follow scores, in a weighting and its parts."""
    if isinstance(weighting, PIVRG):
        return [weighting]
    parts = weighting._parts() if isinstance(weighting, Wrapper) else []
    return [found for part in parts for found in with_scores(part)]
