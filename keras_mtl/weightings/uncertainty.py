import math

import keras
from keras import ops

from keras_mtl.weightings.weighting import Weighting

# The factor c of the weight c / σ².
FORMS = {"regression": 0.5, "classification": 1.0}


@keras.saving.register_keras_serializable(package="keras_mtl")
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

    paper = "Kendall et al., Multi-Task Learning Using Uncertainty"
    year = 2018

    def __init__(self, form="regression", learning_rate=None, **kwargs):
        super().__init__(**kwargs)
        forms = [form] if isinstance(form, str) else list(form)
        if not set(forms) <= set(FORMS):
            raise ValueError(
                f"Expected `form` to be one of {list(FORMS)} or a list of "
                f"them. Received: form={form}"
            )
        if learning_rate is not None and not 0 < learning_rate < math.inf:
            raise ValueError(
                "Expected `learning_rate` to be positive and finite or None. "
                f"Received: learning_rate={learning_rate}"
            )
        self.form = form
        self.learning_rate = learning_rate

    @property
    def needs_learning_rate(self):
        return self.learning_rate is None

    def build_state(self, num_tasks):
        forms = self.form
        forms = [forms] * num_tasks if isinstance(forms, str) else forms
        if len(forms) != num_tasks:
            raise ValueError(
                f"Expected `form` to have one entry for each of {num_tasks} "
                f"tasks. Received: form={forms}"
            )
        self.factors = [FORMS[form] for form in forms]
        self.log_variance = self.add_state((num_tasks,), name="log_variance")
        self.optimizer = self.add_optimizer(
            keras.optimizers.Adam(self.learning_rate or 1e-3),
            [self.log_variance],
        )

    def compute_weights(self, losses):
        factors = ops.convert_to_tensor(self.factors, "float32")
        weights = factors * ops.exp(-self.log_variance)
        if self.needs_learning_rate:
            rate = ops.copy(self.model_learning_rate)
            self.optimizer.learning_rate = rate
        gradient = 0.5 - weights * losses
        self.train_where(losses != 0.0, gradient, self.log_variance)
        return weights
