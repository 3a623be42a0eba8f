from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from keras_mtl.architectures.arguments import prefixed
from keras_mtl.architectures.arguments import task_names
from keras_mtl.architectures.d_select_gate import DSelectGate
from keras_mtl.architectures.experts import inputs_and_experts
from keras_mtl.architectures.gates import Gates
from keras_mtl.architectures.gates import mixed
from keras_mtl.backend.checks import positive_integer

Tensor = Any


def dselect_k(
    x: Any,
    tasks: Iterable[str],
    expert: Callable[[str], Any],
    num_experts: int = 4,
    k: int = 2,
    gamma: float = 1.0,
    entropy_weight: float = 1e-3,
    per_example: bool = True,
    gate_input: Callable | None = None,
    name: str = "dselect_k",
) -> dict[str, Tensor]:
    """Experts that all tasks share, of which each task chooses `k`.

    It is `mmoe` with the gates of `DSelectGate`, most of which end at exactly
    0. Their entropy is a loss of the model, added to the tasks' losses: no
    weighting balances it.

    Shared: the experts. Own: each task's gate.

    Example:

    ```python
    x = keras.Input((10,))
    features = keras_mtl.architectures.dselect_k(
        x,
        ["ctr", "cvr"],
        lambda name: keras.layers.Dense(64, "relu", name=name),
        num_experts=8,
        k=2,
    )
    outputs = {t: keras.layers.Dense(1)(h) for t, h in features.items()}
    model = keras_mtl.MultiTaskModel(x, outputs)
    ```

    Args:
        x: See `mmoe`.
        tasks: See `mmoe`.
        expert: See `mmoe`.
        num_experts: Number of experts, two or more.
        k: See `DSelectGate`.
        gamma: See `DSelectGate`.
        entropy_weight: See `DSelectGate`.
        per_example: See `DSelectGate`.
        gate_input: See `mmoe`.
        name: See `mmoe`.

    Returns:
        Dict of task to symbolic tensor, of the shape that an expert returns.

    Raises:
        ValueError: See `mmoe` and `DSelectGate`.

    Reference:
        [Hazimeh et al., 2021](https://arxiv.org/abs/2106.03760).
    """
    names = task_names(tasks)
    count = positive_integer("num_experts", num_experts)
    make = inputs_and_experts(x, expert)
    vector = Gates(gate_input).vector(x)
    experts = make.several(prefixed(name, "expert"), x, count)
    features = {}
    for task in names:
        own = prefixed(name, task)
        gate = DSelectGate(
            count, k, gamma, entropy_weight, per_example, name=f"{own}_gate"
        )
        features[task] = mixed(experts, gate(vector), own)
    return features
