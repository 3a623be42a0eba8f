from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.backend.checks import positive
from keras_mtl.backend.checks import seed as checked_seed
from keras_mtl.backend.masks import common_mask

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class BranchChoice(keras.layers.Layer):
    """Chooses one of several branches, and learns which.

    In training, each step draws a branch by its probability, and the gradient
    is that of a softmax (Gumbel-softmax, straight through). Otherwise, the
    most probable one is taken.

    Args:
        temperature: Temperature of the softmax in the gradient, at first. A
            callback may assign lower values to the variable `temperature`.
        seed: Seed of the draws, an integer or `None`.

    Attributes:
        logits: Variable of shape `(branches,)`.
        temperature: Variable, a scalar that is not trained.

    Call arguments:
        branches: List of tensors of one shape.
        training: Boolean.

    Output shape: that of one branch.

    Raises:
        ValueError: If the shapes of the branches differ.

    Reference:
        [Guo et al., 2020](https://arxiv.org/abs/2006.01895), section 3.
    """

    def __init__(
        self, temperature: float = 1.0, seed: int | None = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self._first_temperature = positive("temperature", temperature)
        self.seed = checked_seed("seed", seed)
        self.seed_generator = keras.random.SeedGenerator(self.seed)

    def build(self, branches_shape: Sequence[tuple]) -> None:
        shapes = [tuple(shape) for shape in branches_shape]
        if len({*shapes}) != 1:
            raise ValueError(
                "Expected `branches` to be a list of tensors of one shape. "
                f"Received: branches of shapes {shapes}"
            )
        self.logits = self.add_weight(
            name="logits",
            shape=(len(shapes),),
            initializer="zeros",
            autocast=False,
        )
        self.temperature = self.add_weight(
            name="temperature",
            shape=(),
            initializer=keras.initializers.Constant(self._first_temperature),
            trainable=False,
            autocast=False,
        )

    def call(
        self, branches: Sequence[Tensor], training: bool | None = None
    ) -> Tensor:
        weights = self._drawn() if training else _one_hot(self.logits)
        weights = ops.unstack(ops.cast(weights, self.compute_dtype))
        return sum(w * x for w, x in zip(weights, branches))

    def compute_mask(
        self, branches: Sequence[Tensor], previous_mask: Sequence
    ) -> Any:
        return common_mask(previous_mask)

    def _drawn(self):
        shape, dtype = self.logits.shape, self.logits.dtype
        uniform = keras.random.uniform(
            shape, 1e-6, 1.0, dtype=dtype, seed=self.seed_generator
        )
        logits = self.logits - ops.log(-ops.log(uniform))
        soft = ops.softmax(logits / self.temperature)
        hard = _one_hot(soft)
        # The difference is exactly 0 and has the gradient of the softmax.
        return hard + (soft - ops.stop_gradient(soft))

    @property
    def chosen(self) -> int:
        """The index of the most probable branch."""
        return int(ops.convert_to_numpy(ops.argmax(self.logits)))

    def compute_output_shape(self, branches_shape: Sequence[tuple]) -> tuple:
        return tuple(branches_shape[0])

    def get_config(self) -> dict[str, Any]:
        config = {"temperature": self._first_temperature, "seed": self.seed}
        return {**super().get_config(), **config}


def _one_hot(x):
    """Returns 1 at the largest entry of a vector, and 0 elsewhere."""
    # `ops.one_hot` of a scalar has no counterpart in ONNX.
    return ops.cast(ops.arange(x.shape[0]) == ops.argmax(x), x.dtype)
