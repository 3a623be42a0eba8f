from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from keras_mtl.architectures.arguments import prefixed
from keras_mtl.architectures.arguments import task_names
from keras_mtl.architectures.experts import inputs_and_experts

Tensor = Any


def hard_parameter_sharing(
    x: Any,
    tasks: Iterable[str],
    expert: Callable[[str], Any],
    name: str = "hard_parameter_sharing",
) -> dict[str, Tensor]:
    """One network, whose features all tasks share.

    It takes its arguments as the other architectures do, so that they can be
    compared by one program.

    Shared: the network. Own: nothing but the heads.

    Example:

    ```python
    x = keras.Input((10,))
    features = keras_mtl.architectures.hard_parameter_sharing(
        x, ["ctr", "cvr"], lambda name: keras.layers.Dense(64, "relu")
    )
    outputs = {t: keras.layers.Dense(1)(h) for t, h in features.items()}
    model = keras_mtl.MultiTaskModel(x, outputs)
    ```

    Args:
        x: See `mmoe`.
        tasks: See `mmoe`.
        expert: See `mmoe`; it is called once.
        name: See `mmoe`.

    Returns:
        Dict of task to the same symbolic tensor.

    Raises:
        ValueError: See `mmoe`.

    Reference:
        [Caruana, 1997](https://doi.org/10.1023/A:1007379606734).
    """
    names = task_names(tasks)
    make = inputs_and_experts(x, expert)
    return dict.fromkeys(names, make(prefixed(name, "expert"), x))
