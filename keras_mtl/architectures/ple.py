from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from keras_mtl.architectures.arguments import prefixed
from keras_mtl.architectures.arguments import task_names
from keras_mtl.architectures.experts import inputs_and_experts
from keras_mtl.architectures.extraction import Extraction
from keras_mtl.architectures.gates import Gates
from keras_mtl.backend.checks import positive_integer

Tensor = Any


def ple(
    x: Any,
    tasks: Iterable[str],
    expert: Callable[[str], Any] | Sequence[Callable[[str], Any]],
    levels: int = 2,
    num_experts: int = 2,
    num_shared: int = 2,
    gate_input: Callable | None = None,
    name: str = "ple",
) -> dict[str, Tensor]:
    """Levels of shared experts beside experts of each task.

    On each level, the gate of a task mixes its own experts and the shared
    ones, and another gate mixes all of them for the shared experts of the next
    level (progressive layered extraction). A gate sees what the experts beside
    it see.

    Own: a task's experts and gate on the last level, and its gate on the level
    before. Shared: all others, since what a task has on an earlier level
    reaches the other tasks by the mixture of all experts.

    Example:

    ```python
    x = keras.Input((10,))
    features = keras_mtl.architectures.ple(
        x,
        ["ctr", "cvr"],
        lambda name: keras.layers.Dense(64, "relu", name=name),
        levels=2,
    )
    outputs = {t: keras.layers.Dense(1)(h) for t, h in features.items()}
    model = keras_mtl.MultiTaskModel(x, outputs)
    ```

    Args:
        x: See `mmoe`.
        tasks: See `mmoe`.
        expert: As of `mmoe`, or a list with one function for each level.
        levels: Number of levels.
        num_experts: Number of experts of each task on a level.
        num_shared: Number of experts of all tasks on a level.
        gate_input: As of `mmoe`; on the later levels, it is called on the
            mixtures of the level before.
        name: See `mmoe`.

    Returns:
        Dict of task to symbolic tensor, of the shape that an expert returns.

    Raises:
        ValueError: See `mmoe`.

    Reference:
        [Tang et al., 2020](https://dl.acm.org/doi/10.1145/3383313.3412236),
        section 4.2.
    """
    names = task_names(tasks)
    levels = positive_integer("levels", levels)
    extraction = Extraction(
        inputs_and_experts(x, expert, levels),
        Gates(gate_input),
        num_experts,
        num_shared,
    )
    shared, own = x, dict.fromkeys(names, x)
    for i in range(levels):
        level = name if levels == 1 else prefixed(name, f"{i}")
        is_last = i == levels - 1
        shared, own = extraction(shared, own, level, i, is_last)
    return own
