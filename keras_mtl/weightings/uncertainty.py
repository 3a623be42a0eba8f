from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.own_optimizer import OwnOptimizer
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting

# The gradient is about 1, and the loss over its usual value where a batch has
# a loss that is much larger.
MAX_GRADIENT = 10.0
# The factor c of the weight c / σ².
FORMS = {"regression": 0.5, "classification": 1.0}


@register(
    "uncertainty",
    package="keras_mtl",
    paper="Kendall et al., Multi-Task Learning Using Uncertainty",
    year=2018,
)
class Uncertainty(Weighting):
    """Weights a task by its learned homoscedastic uncertainty σ².

    The objective is Σ L / (2 σ²) + log σ, for a classification loss
    Σ L / σ² + log σ, in the network's parameters and in log σ², which starts at
    0. The gradient for log σ² is known in closed form, so that the weighting
    takes Adam's step itself, once per call. A task without a label in the
    batch, whose loss is 0, keeps its σ².

    Args:
        form: `"regression"`, `"classification"`, or a list of them, one per
            task.
        learning_rate: Learning rate of log σ². By default that of the model at
            each step (0.001 without a model).

    Example:

    >>> keras_mtl.weightings.Uncertainty()(np.array([1.0, 3.0]))
    [0.5, 0.5]

    Reference:
        - [Kendall et al., 2018](https://arxiv.org/abs/1705.07115), equations 7
          and 10.
    """

    def __init__(
        self,
        form: str | Sequence[str] = "regression",
        learning_rate: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        is_list = isinstance(form, (list, tuple))
        forms: list[Any] = list(form) if is_list else [form]
        if not forms or not all(one in list(FORMS) for one in forms):
            raise ValueError(
                f"Expected `form` to be one of {list(FORMS)} or a list of "
                f"them. Received: form={form}"
            )
        self.form = forms if is_list else form
        self.learning_rate = checks.positive(
            "learning_rate", learning_rate, optional=True
        )

    @property
    def needs_learning_rate(self) -> bool:
        return self.learning_rate is None

    def build_state(self, num_tasks: int) -> None:
        forms = self.form
        if isinstance(forms, str):
            forms = [forms] * num_tasks
        checks.one_per_task("form", forms, num_tasks)
        self.factors = [FORMS[form] for form in forms]
        self.log_variance = self.add_state((num_tasks,), name="log_variance")
        adam = keras.optimizers.Adam(self.learning_rate or 1e-3)
        self.optimizer = OwnOptimizer(adam, self.log_variance, MAX_GRADIENT)
        self.optimizer_state = self.optimizer.variables

    def compute_weights(self, losses: Tensor) -> Tensor:
        factors = ops.convert_to_tensor(self.factors, "float32")
        weights = factors * ops.exp(-self.log_variance)
        if self.needs_learning_rate:
            self.optimizer.set_learning_rate(ops.copy(self.model_learning_rate))
        gradient = 0.5 - weights * losses
        self.optimizer.descend_where(losses != 0.0, gradient)
        return weights
