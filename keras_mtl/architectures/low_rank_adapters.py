import contextlib
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers
from keras import ops

from keras_mtl.backend.checks import positive
from keras_mtl.backend.checks import positive_integer

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class LowRankAdapters(keras.layers.Layer):
    """A frozen network, called with adapters of low rank for its kernels.

    To the kernel of each adapted layer, `Dense` or `EinsumDense`, it adds the
    product of two trained matrices, the second of which is zero at first.
    Several such layers may hold the same network: each calls it with its own
    adapters, and the network itself stays as it is.

    Args:
        backbone: The network, a built layer or model. Its `trainable` is set
            to `False`.
        rank: Rank of the product.
        alpha: The product is multiplied by `alpha / rank`; `None` for 1.
        targets: Names of the layers to adapt, wherever they are inside of the
            network, or `None` for all that can be.

    Call arguments:
        x: As of `backbone`.
        training: Boolean.

    Returns:
        What `backbone` returns.

    Raises:
        ValueError: If the network is not built, has no such layer, or its
            layers are quantized.

    Reference:
        [Hu et al., 2022](https://arxiv.org/abs/2106.09685).
    """

    def __init__(
        self,
        backbone: Any,
        rank: int = 4,
        alpha: float | None = None,
        targets: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.backbone = backbone
        self.rank = positive_integer("rank", rank)
        self.alpha = positive("alpha", alpha, optional=True)
        if isinstance(targets, str):
            targets = [targets]
        self.targets = None if targets is None else list(targets)
        backbone.trainable = False
        self.supports_masking = True
        self._a, self._b = [], []
        for layer in _layers_to_adapt(backbone, self.targets):
            self._add_pair(layer.name, tuple(layer.kernel.shape))

    def _add_pair(self, name, shape):
        a = self.add_weight(
            name=f"{name}_a",
            shape=(*shape[:-1], self.rank),
            initializer="he_uniform",
        )
        b = self.add_weight(
            name=f"{name}_b",
            shape=(self.rank, shape[-1]),
            initializer="zeros",
        )
        self._a.append(a)
        self._b.append(b)

    def build(self, x_shape: Any) -> None:
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        scale = 1.0 if self.alpha is None else self.alpha / self.rank
        with contextlib.ExitStack() as stack:
            # As an attribute, they would be tracked beside the network.
            adapted = _layers_to_adapt(self.backbone, self.targets)
            for layer, a, b in zip(adapted, self._a, self._b):
                stack.enter_context(_adapted(layer, a, b, scale))
            if self.backbone._call_has_training_arg:
                return self.backbone(x, training=training)
            return self.backbone(x)

    def compute_output_spec(self, x: Any, training: bool | None = None) -> Any:
        # A layer of the network may not run on inputs of any length.
        return self.backbone.compute_output_spec(x)

    def compute_mask(self, x: Any, previous_mask: Any) -> None:
        # The network sets the masks of its outputs.
        return None

    def get_config(self) -> dict[str, Any]:
        config = {
            # Keras serializes the network itself: then a file has it once,
            # whatever the number of layers that hold it.
            "backbone": self.backbone,
            "rank": self.rank,
            "alpha": self.alpha,
            "targets": self.targets,
        }
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LowRankAdapters":
        backbone = config["backbone"]
        if isinstance(backbone, dict):
            backbone = keras.saving.deserialize_keras_object(backbone)
        return cls(**{**config, "backbone": backbone})


def _layers_to_adapt(backbone, targets):
    if not isinstance(backbone, keras.Layer) or not backbone.built:
        raise ValueError(
            "Expected `backbone` to be a built layer or model. Received: "
            f"backbone={backbone!r}. Call it on a batch first."
        )
    found = [
        layer
        for layer in backbone._flatten_layers()
        if isinstance(layer, (layers.Dense, layers.EinsumDense))
    ]
    known = sorted({layer.name for layer in found})
    unknown = sorted(set(targets or ()) - set(known))
    if targets is not None:
        found = [layer for layer in found if layer.name in targets]
    if unknown or not found:
        raise ValueError(
            "Expected `targets` to be names of `Dense` or `EinsumDense` layers "
            f"of {backbone.name!r}: {known}. Received: targets={targets}"
        )
    quantized = [x.name for x in found if x.quantization_mode]
    if quantized:
        raise ValueError(
            "Expected `backbone` to have layers that are not quantized. "
            f"Received: {quantized} are"
        )
    return found


@contextlib.contextmanager
def _adapted(layer: Any, a: Any, b: Any, scale: float) -> Iterator[None]:
    """A block in which a layer is called with an adapter.

    The network may itself have such adapters. They add to what the layer
    returns before its activation, whichever comes first.
    """
    # What an adapter outside of this one has put there.
    outer = layer.__dict__.get("call")
    call, activation = outer.parts if outer else (layer.call, layer.activation)

    def linear(inputs, *args, **kwargs):
        outputs = call(inputs, *args, **kwargs)
        if isinstance(layer, layers.EinsumDense):
            kernel = ops.matmul(a, b)
            change = ops.einsum(layer.equation, inputs, kernel)
        else:
            change = ops.matmul(ops.matmul(inputs, a), b)
        return outputs + scale * change

    def adapted_call(*args, **kwargs):
        outputs = linear(*args, **kwargs)
        return outputs if activation is None else activation(outputs)

    adapted_call.parts = linear, activation  # type: ignore[attr-defined]
    # Keras would track what is set in the ordinary way.
    object.__setattr__(layer, "call", adapted_call)
    object.__setattr__(layer, "activation", None)
    try:
        yield
    finally:
        if outer:
            object.__setattr__(layer, "call", outer)
        else:
            object.__delattr__(layer, "call")
            object.__setattr__(layer, "activation", activation)
