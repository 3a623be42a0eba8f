from typing import Any

import keras
from keras import ops

from keras_mtl.architectures.arguments import check_task_shape
from keras_mtl.architectures.gradient_reversal import with_reversed_gradient
from keras_mtl.backend.checks import non_negative
from keras_mtl.backend.checks import positive_integer

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class TaskAdversary(keras.layers.Layer):
    """Makes features from which a classifier cannot tell the task.

    A dense layer with a softmax predicts the task of each example, and its
    cross entropy is added to the model's losses. The gradient is reversed on
    its way to the features, which therefore become such that the classifier
    fails. The features pass through unchanged.

    Args:
        num_tasks: Number of tasks.
        weight: Factor of the loss, λ in the paper.

    Call arguments:
        features: Of shape `(batch, units)`.
        task: Integers of shape `(batch, 1)`, the index of each example's task.
            An example with another number is of no task, and left out.

    Output shape: `(batch, units)`.

    Raises:
        ValueError: If `task` is of another shape.
    """

    def __init__(self, num_tasks: int, weight: float = 0.05, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_tasks = positive_integer("num_tasks", num_tasks)
        self.weight = non_negative("weight", weight)
        self.classifier = keras.layers.Dense(
            self.num_tasks, dtype=self.variable_dtype, name="classifier"
        )

    def build(self, features_shape: tuple, task_shape: tuple) -> None:
        check_task_shape(task_shape)
        self.classifier.build(features_shape)

    def call(self, features: Tensor, task: Tensor) -> Tensor:
        chosen = ops.cast(task, "int32") == ops.arange(self.num_tasks)
        chosen = ops.cast(chosen, self.variable_dtype)
        logits = self.classifier(with_reversed_gradient(features))
        total = -ops.sum(chosen * ops.log_softmax(logits, axis=-1))
        count = ops.maximum(ops.sum(chosen), 1.0)
        self.add_loss(self.weight * total / count)
        return features

    def compute_output_shape(
        self, features_shape: tuple, task_shape: tuple
    ) -> tuple:
        return features_shape

    def get_config(self) -> dict[str, Any]:
        config = {"num_tasks": self.num_tasks, "weight": self.weight}
        return {**super().get_config(), **config}
