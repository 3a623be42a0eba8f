from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.trained_scales import TrainedScales

# The factor c of the weight c / σ².
FORMS = {"regression": 0.5, "classification": 1.0}


@register(
    "uncertainty",
    package="keras_mtl",
    paper="Kendall et al., Multi-Task Learning Using Uncertainty",
    year=2018,
    when="Tasks differ in scale or noise; the weights are learned.",
    abbreviation="UW",
)
class Uncertainty(TrainedScales):
    """Weights a task by its learned homoscedastic uncertainty σ².

    The objective is Σ L / (2 σ²) + log σ, for a classification loss
    Σ L / σ² + log σ, in the network's parameters and in log σ², which starts at
    0. The gradient for log σ² is known in closed form, so that the weighting
    takes Adam's step itself, once per call. A task without a label in the
    batch, whose loss is 0, keeps its σ².

    Args:
        form: `"regression"`, `"classification"`, or a list of them, one per
            task.
        learning_rate: Learning rate of log σ². The default is that of the
            official codes of Nash-MTL and IGB, whatever the network's is.
            `None` is the model's rate at each step (0.001 without a model), at
            which σ² may follow the losses too slowly: on QM9, Δm was 43 with
            it, and 9.5 with 0.025.
        **kwargs: See `Weighting` (`scale_invariant`, `floor`).

    Example:

    >>> keras_mtl.weightings.Uncertainty()(np.array([1.0, 3.0]))
    [0.5, 0.5]

    Reference:
        - [Kendall et al., 2018](https://arxiv.org/abs/1705.07115), equations 7
          and 10.
    """

    divides_by_losses = True

    def __init__(
        self,
        form: str | Sequence[str] = "regression",
        learning_rate: float | None = 0.025,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        is_list = isinstance(form, (list, tuple))
        forms: list[Any] = list(form) if is_list else [form]
        if not forms or not all(one in list(FORMS) for one in forms):
            raise ValueError(
                f"Expected `form` to be one of {list(FORMS)} or a list of "
                f"them. Received: form={form}"
            )
        self.form = forms if is_list else form

    def build_state(self, num_tasks: int) -> None:
        forms = self.form
        if isinstance(forms, str):
            forms = [forms] * num_tasks
        checks.one_per_task("form", forms, num_tasks)
        self.factors = [FORMS[form] for form in forms]
        self.log_variance = self.add_state((num_tasks,), name="log_variance")
        self.make_optimizer(self.log_variance)

    def compute_weights(self, losses: Tensor) -> Tensor:
        factors = ops.convert_to_tensor(self.factors, "float32")
        weights = factors * ops.exp(-self.log_variance)
        self.descend_where(losses != 0.0, 0.5 - weights * losses)
        return weights
