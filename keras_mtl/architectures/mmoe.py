from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from keras_mtl.architectures.arguments import prefixed
from keras_mtl.architectures.arguments import task_names
from keras_mtl.architectures.experts import inputs_and_experts
from keras_mtl.architectures.gates import Gates
from keras_mtl.backend.checks import positive_integer

Tensor = Any


def mmoe(
    x: Any,
    tasks: Iterable[str],
    expert: Callable[[str], Any],
    num_experts: int = 4,
    gate_input: Callable | None = None,
    name: str = "mmoe",
) -> dict[str, Tensor]:
    """Experts that all tasks share, mixed by a gate of each task.

    A gate is a linear layer of the input with a softmax over the experts.

    Shared: the experts. Own: each task's gate.

    Example:

    ```python
    x = keras.Input((10,))
    features = keras_mtl.architectures.mmoe(
        x,
        ["ctr", "cvr"],
        expert=lambda name: keras.layers.Dense(64, "relu", name=name),
        num_experts=4,
    )
    outputs = {t: keras.layers.Dense(1)(h) for t, h in features.items()}
    model = keras_mtl.MultiTaskModel(x, outputs)
    ```

    Args:
        x: What the experts are called on: a tensor of a Functional graph, or
            a nested structure of them.
        tasks: Names of the tasks.
        expert: Function of a name that makes a new layer, such as a
            `keras.Sequential`. All experts return tensors of one shape.
        num_experts: Number of experts.
        gate_input: Function of `x` that makes what the gates see, of shape
            `(batch, units)`; by default `x` itself. For sequences and images,
            it may be a pooling layer.
        name: What the names of the layers and experts begin with. A graph
            with two such blocks has to name them differently.

    Returns:
        Dict of task to symbolic tensor, of the shape that an expert returns.

    Raises:
        ValueError: `tasks` are no different names; `expert` is no function, or
            makes a layer twice; the experts' shapes differ; or gates do not
            see vectors.

    Reference:
        [Ma et al., 2018](https://dl.acm.org/doi/10.1145/3219819.3220007).
    """
    names = task_names(tasks)
    count = positive_integer("num_experts", num_experts)
    make, gates = inputs_and_experts(x, expert), Gates(gate_input)
    experts = make.several(prefixed(name, "expert"), x, count)
    return {t: gates.mixture(x, experts, prefixed(name, t)) for t in names}
