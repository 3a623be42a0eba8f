from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from keras_mtl.architectures.ple import ple

Tensor = Any


def cgc(
    x: Any,
    tasks: Iterable[str],
    expert: Callable[[str], Any],
    num_experts: int = 2,
    num_shared: int = 2,
    gate_input: Callable | None = None,
    name: str = "cgc",
) -> dict[str, Tensor]:
    """Experts that all tasks share beside experts of each task.

    The gate of a task mixes its own experts and the shared ones: `ple` with
    one level (customized gate control).

    Shared: the shared experts. Own: each task's experts and gate.

    Example:

    ```python
    x = keras.Input((10,))
    features = keras_mtl.architectures.cgc(
        x, ["ctr", "cvr"], lambda name: keras.layers.Dense(64, "relu")
    )
    outputs = {t: keras.layers.Dense(1)(h) for t, h in features.items()}
    model = keras_mtl.MultiTaskModel(x, outputs)
    ```

    Args:
        x: See `mmoe`.
        tasks: See `mmoe`.
        expert: See `mmoe`.
        num_experts: Number of experts of each task.
        num_shared: Number of experts of all tasks.
        gate_input: See `mmoe`.
        name: See `mmoe`.

    Returns:
        Dict of task to symbolic tensor, of the shape that an expert returns.

    Raises:
        ValueError: See `mmoe`.

    Reference:
        [Tang et al., 2020](https://dl.acm.org/doi/10.1145/3383313.3412236),
        section 4.1.
    """
    return ple(
        x,
        tasks,
        expert,
        levels=1,
        num_experts=num_experts,
        num_shared=num_shared,
        gate_input=gate_input,
        name=name,
    )
