from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.numerics import norm_of_all
from keras_mtl.solvers.simplex import simplex_qp
from keras_mtl.weightings.own_optimizer import OwnOptimizer
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting

# The shortest vector between gradients of length 1 that is more than rounding:
# slopes have errors of about 1e-5.
ROUNDING = 1e-3


@register(
    "moml",
    package="keras_mtl",
    paper="Ye et al., Multi-Objective Meta Learning",
    year=2021,
    cost="T + 2 backward passes, 3 T + 2 forward passes",
    when="As auto_lambda, where no validation loss may be given up.",
)
class MOML(Weighting):
    """MOML: weights by which the validation losses of all tasks fall.

    The weights are softmax(ω) T. Before each step, ω takes one of its own by
    Adam. Each task's loss on validation data, after a step
    θ' = θ − η ∇Σ softmax(ω)_i L_i of the network, has a gradient for ω; these
    are brought to one length, and joined as by MGDA, to the shortest vector
    between them, along which none of the losses rises.

    The gradient of the loss of task t for softmax(ω)_i is
    −η ⟨∇L_t(θ'), ∇L_i(θ)⟩; the inner product is the slope of L_i along
    ∇L_t(θ'), from two forward passes with parameters moved by 0.01, where
    LibMTL has it from one backward pass for each task on both kinds of data.

    The validation data are those of `fit(validation_for_weighting=...)`, or
    else the halves of each batch, as of `AutoLambda`. As in LibMTL, there is
    one step ahead, and the gradients that are joined have length 1; the code of
    the authors takes the factors of these for the gradients as they are.

    Args:
        learning_rate: Learning rate of ω.
        inner_learning_rate: η.
        **kwargs: See `Weighting`.

    Example:

    ```python
    model.compile("adam", loss=..., weighting=keras_mtl.weightings.MOML())
    model.fit(x, y, validation_for_weighting=(x_val, y_val))
    ```

    Reference:
        - [Ye et al., 2021](https://arxiv.org/abs/2102.07121), Algorithm 1, and
          `LibMTL/trainer.py` of LibMTL 1.1.5, whose weights have the sum 1.
    """

    needs_validation = True

    def __init__(
        self,
        learning_rate: float = 1e-3,
        inner_learning_rate: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.learning_rate = checks.positive("learning_rate", learning_rate)
        self.inner_learning_rate = checks.positive(
            "inner_learning_rate", inner_learning_rate
        )

    def build_state(self, num_tasks: int) -> None:
        self.logits = self.add_state((num_tasks,), name="logits")
        adam = keras.optimizers.Adam(float(self.learning_rate), epsilon=1e-8)
        self.optimizer = OwnOptimizer(adam, self.logits)
        self.optimizer_state = self.optimizer.variables

    def compute_weights(self, losses: Tensor) -> Tensor:
        return self.num_tasks * self._shares()

    def _shares(self):
        return ops.softmax(ops.convert_to_tensor(self.logits))

    def update_before_step(
        self, slopes: Callable[..., Tensor], learning_rate: Tensor
    ) -> None:
        shares = self._shares()
        alone = [
            [1.0 if i == t else None for i in range(self.num_tasks)]
            for t in range(self.num_tasks)
        ]
        found = slopes(shares, alone, self.inner_learning_rate)
        # The derivatives of the losses for ω, a row for each.
        mean = ops.sum(found * shares, axis=1, keepdims=True)
        rows = -self.inner_learning_rate * shares * (found - mean)
        norms = ops.sqrt(ops.sum(ops.square(rows), axis=1, keepdims=True))
        rows = rows / ops.maximum(norms, TINY)
        gramian = ops.matmul(rows, ops.transpose(rows))
        joined = ops.matmul(simplex_qp(gramian), rows)
        # Adam would bring what is left of gradients that cancel to full length.
        known = norm_of_all([joined]) > ROUNDING
        self.optimizer.descend(ops.where(known, joined, 0.0))
