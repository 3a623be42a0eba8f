import itertools
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from keras_mtl.architectures.arguments import check_one_shape
from keras_mtl.architectures.arguments import prefixed
from keras_mtl.architectures.arguments import task_names
from keras_mtl.architectures.branch_choice import BranchChoice
from keras_mtl.architectures.experts import inputs_and_experts
from keras_mtl.backend.checks import positive_integer
from keras_mtl.backend.checks import seed as checked_seed

Tensor = Any


def learning_to_branch(
    x: Any,
    tasks: Iterable[str],
    expert: Callable[[str], Any] | Sequence[Callable[[str], Any]],
    levels: int = 2,
    num_experts: int = 3,
    temperature: float = 1.0,
    seed: int | None = None,
    name: str = "learning_to_branch",
) -> dict[str, Tensor]:
    """A tree of blocks, whose branches are learned.

    Each block of a level learns from which block of the level before it takes
    its input, and each task, from which block of the last level (see
    `BranchChoice`). What no task comes from is computed, too: build a smaller
    network of `model.get_layer("learning_to_branch_ctr").chosen` and so on
    once the tree is found.

    Shared: all blocks, and their choices. Own: each task's choice.

    Example:

    ```python
    x = keras.Input((10,))
    features = keras_mtl.architectures.learning_to_branch(
        x,
        ["ctr", "cvr"],
        lambda name: keras.layers.Dense(64, "relu", name=name),
    )
    outputs = {t: keras.layers.Dense(1)(h) for t, h in features.items()}
    model = keras_mtl.MultiTaskModel(x, outputs)
    ```

    Args:
        x: See `mmoe`.
        tasks: See `mmoe`.
        expert: Function of a name that makes a block, or a list with one
            function for each level. On a level, all return tensors of one
            shape.
        levels: Number of levels.
        num_experts: Number of blocks of a level.
        temperature: See `BranchChoice`.
        seed: Seed of the draws, an integer or `None`.
        name: See `mmoe`. The choice of a task is the layer `<name>_<task>`,
            that of a block `<name>_<level>_choice_<block>`.

    Returns:
        Dict of task to symbolic tensor, of the shape that a block returns.

    Raises:
        ValueError: See `mmoe`.

    Reference:
        [Guo et al., 2020](https://arxiv.org/abs/2006.01895).
    """
    names = task_names(tasks)
    levels = positive_integer("levels", levels)
    count = positive_integer("num_experts", num_experts)
    make = inputs_and_experts(x, expert, levels)
    seeds = itertools.count(checked_seed("seed", seed) or 0)

    def choose(blocks, layer_name):
        own_seed = None if seed is None else next(seeds)
        choice = BranchChoice(temperature, own_seed, name=layer_name)
        return choice(list(blocks.values()))

    blocks = make.several(prefixed(name, "0_expert"), x, count)
    for i in range(1, levels):
        level = prefixed(name, f"{i}")
        check_one_shape("branches of a tree", blocks)
        inputs = [choose(blocks, f"{level}_choice_{j}") for j in range(count)]
        made = [f"{level}_expert_{j}" for j in range(count)]
        blocks = {n: make(n, h, i) for n, h in zip(made, inputs)}
    check_one_shape("branches of a tree", blocks)
    return {task: choose(blocks, prefixed(name, task)) for task in names}
