from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from keras import layers

from keras_mtl.architectures.arguments import prefixed
from keras_mtl.architectures.arguments import task_names
from keras_mtl.architectures.experts import inputs_and_experts
from keras_mtl.architectures.feature_modulation import FeatureModulation
from keras_mtl.backend.checks import positive_integer

Tensor = Any


def film(
    x: Any,
    tasks: Iterable[str],
    expert: Callable[[str], Any] | Sequence[Callable[[str], Any]],
    levels: int = 1,
    activation: Any = "relu",
    name: str = "film",
) -> dict[str, Tensor]:
    """One network, conditioned on the task by a scale and a shift per channel.

    After each level, a task has factors and offsets of its own for the
    channels (feature-wise linear modulation), and then the activation.

    Shared: the network. Own: two numbers per channel and level. From the second
    level on, the network runs once for each task; what it computes there
    belongs to the heads, whose shared weights `gradients="features"` does not
    see.

    Example:

    ```python
    x = keras.Input((10,))
    features = keras_mtl.architectures.film(
        x, ["ctr", "cvr"], lambda name: keras.layers.Dense(64, name=name)
    )
    outputs = {t: keras.layers.Dense(1)(h) for t, h in features.items()}
    model = keras_mtl.MultiTaskModel(x, outputs)
    ```

    Args:
        x: See `mmoe`.
        tasks: See `mmoe`.
        expert: Function of a name that makes one level of the network, without
            the activation at its end; or a list with one function for each
            level.
        levels: Number of levels.
        activation: Activation after the modulation, as of
            `keras.layers.Activation`, or `None`.
        name: See `mmoe`.

    Returns:
        Dict of task to symbolic tensor, of the shape that the network returns.

    Raises:
        ValueError: See `mmoe`.

    Reference:
        [Perez et al., 2018](https://arxiv.org/abs/1709.07871).
    """
    names = task_names(tasks)
    levels = positive_integer("levels", levels)
    make = inputs_and_experts(x, expert, levels)
    features = dict.fromkeys(names, x)
    for i in range(levels):
        level = prefixed(name, f"{i}")
        features = make.on_each(prefixed(level, "expert"), features, i)
        for task, h in features.items():
            own = prefixed(level, task)
            h = FeatureModulation(name=own)(h)
            if activation is not None:
                h = layers.Activation(activation, name=f"{own}_activation")(h)
            features[task] = h
    return features
