from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from keras_mtl.architectures.arguments import check_one_shape
from keras_mtl.architectures.arguments import prefixed
from keras_mtl.architectures.arguments import task_names
from keras_mtl.architectures.cross_stitch_unit import CrossStitchUnit
from keras_mtl.architectures.experts import inputs_and_experts
from keras_mtl.backend.checks import positive_integer

Tensor = Any


def cross_stitch(
    x: Any,
    tasks: Iterable[str],
    expert: Callable[[str], Any] | Sequence[Callable[[str], Any]],
    levels: int = 2,
    own: float = 0.9,
    per_channel: bool = False,
    name: str = "cross_stitch",
) -> dict[str, Tensor]:
    """A network for each task, which exchange features after each level.

    After a level, a task goes on with a trained linear combination of the
    features of all tasks (`CrossStitchUnit`).

    Shared: all networks, and the units of all levels but the last. Own: each
    task's unit on the last level.

    Example:

    ```python
    x = keras.Input((10,))
    features = keras_mtl.architectures.cross_stitch(
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
        expert: Function of a name that makes one level of a task's network, or
            a list with one function for each level. On a level, all return
            tensors of one shape.
        levels: Number of levels.
        own: See `CrossStitchUnit`.
        per_channel: See `CrossStitchUnit`.
        name: See `mmoe`.

    Returns:
        Dict of task to symbolic tensor, of the shape that an expert returns.

    Raises:
        ValueError: See `mmoe`.

    Reference:
        [Misra et al., 2016](https://arxiv.org/abs/1604.03539).
    """
    names = task_names(tasks)
    levels = positive_integer("levels", levels)
    make = inputs_and_experts(x, expert, levels)
    features = dict.fromkeys(names, x)
    for i in range(levels):
        level = prefixed(name, f"{i}")
        made = {
            prefixed(level, f"{task}_expert"): h for task, h in features.items()
        }
        made = {n: make(n, h, i) for n, h in made.items()}
        check_one_shape("combined by cross-stitch units", made)
        features = {
            task: CrossStitchUnit(
                k, own, per_channel, name=prefixed(level, task)
            )(list(made.values()))
            for k, task in enumerate(names)
        }
    return features
