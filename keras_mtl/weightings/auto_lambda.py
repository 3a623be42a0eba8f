from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.own_optimizer import OwnOptimizer
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting


@register(
    "auto_lambda",
    package="keras_mtl",
    paper="Liu et al., Auto-Lambda: Disentangling Dynamic Task Relationships",
    year=2022,
    cost="3 backward passes, 5 forward passes",
    when="Some tasks only help others: weights by validation losses.",
)
class AutoLambda(Weighting):
    """Auto-Lambda: weights that lower the validation losses of chosen tasks.

    Before each step, the weights λ take one of their own: they follow, by Adam,
    the gradient of the primary tasks' losses on validation data after a step
    θ' = θ − α ∇Σ λ_i L_i of the network, where α is its present learning rate.
    That gradient is −α ⟨∇L_val(θ'), ∇L_i(θ)⟩ for task i, and the inner product
    the slope of L_i along ∇L_val(θ'), from two forward passes with parameters
    moved by 0.01. So a task whose gradient is like those of the primary tasks
    gains weight, and one that is against them loses it, if need be below 0.

    The validation data are those of `fit(validation_for_weighting=...)`: other
    data than those of `validation_data`, by which the result is judged, and
    than the training data, or these in another order, as in the official code.
    Without them, λ takes its step by the halves of each batch, as in LibMTL,
    and the network by the whole of it.

    Beside the weights, a step keeps one more copy of the trainable variables
    and one of their gradients. The step θ' is that of plain gradient descent,
    as in the paper; the official code adds momentum and weight decay of SGD.

    Args:
        primary: Names of the primary tasks, keys of `loss`: a name, a list of
            names, or `None` for all tasks.
        learning_rate: Learning rate of λ.
        initial: The first λ of all tasks. Its default makes the first steps
            shorter by that factor than with equal weights.
        **kwargs: See `Weighting`.

    Example:

    ```python
    weighting = keras_mtl.weightings.AutoLambda(primary="depth")
    model.compile("adam", loss=..., weighting=weighting)
    model.fit(x, y, validation_for_weighting=(x_val, y_val))
    ```

    Reference:
        - [Liu et al., 2022](https://arxiv.org/abs/2202.03091), equations 4 to 7
          and Algorithm 1.
    """

    needs_validation = True

    def __init__(
        self,
        primary: str | Sequence[str] | None = None,
        learning_rate: float = 1e-4,
        initial: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.primary = _names(primary)
        self.learning_rate = checks.positive("learning_rate", learning_rate)
        self.initial = checks.positive("initial", initial)
        self._chosen: list | None = None

    def name_tasks(self, tasks: Sequence[str]) -> None:
        unknown = [name for name in self.primary or () if name not in tasks]
        if unknown:
            raise ValueError(
                f"Expected `primary` to be among the tasks {list(tasks)}. "
                f"Received: primary={self.primary}"
            )
        if self.primary is not None:
            self._chosen = [1.0 if t in self.primary else None for t in tasks]

    def build_state(self, num_tasks: int) -> None:
        first = keras.initializers.Constant(float(self.initial))
        self.lambdas = self.add_state((num_tasks,), first, name="lambdas")
        adam = keras.optimizers.Adam(float(self.learning_rate), epsilon=1e-8)
        self.optimizer = OwnOptimizer(adam, self.lambdas)
        self.optimizer_state = self.optimizer.variables

    def compute_weights(self, losses: Tensor) -> Tensor:
        return ops.copy(self.lambdas)

    def update_before_step(
        self, slopes: Callable[..., Tensor], learning_rate: Tensor
    ) -> None:
        primary = self._chosen or [1.0] * self.num_tasks
        lambdas = ops.copy(self.lambdas)
        [slope] = ops.unstack(slopes(lambdas, [primary], learning_rate))
        # A task without a label has no slope, and keeps its weight.
        self.optimizer.descend_where(
            ops.not_equal(slope, 0.0), -learning_rate * slope
        )


def _names(primary):
    """Checks the names of tasks, and returns a list or `None`."""
    names = [primary] if isinstance(primary, str) else primary
    if names is None:
        return None
    is_list = isinstance(names, (list, tuple)) and len(names) > 0
    if not is_list or not all(isinstance(name, str) for name in names):
        raise ValueError(
            "Expected `primary` to be the name of a task, a list of names or "
            f"None. Received: primary={primary!r}"
        )
    return list(names)
