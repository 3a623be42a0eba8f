from collections.abc import Iterable
from typing import Any

import keras

from keras_mtl.models.atom_sum import AtomSum
from keras_mtl.models.distance_expansion import DistanceExpansion
from keras_mtl.models.interaction import Interaction

Tensor = Any


_MAX_ATOMIC_NUMBER = 9


def message_passing(
    tasks: Iterable[str],
    units: int = 48,
    channels: int = 16,
    gaussians: int = 16,
    blocks: int = 3,
    head_units: int = 16,
    max_atoms: int | None = 29,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A message-passing network for molecules, with one head per task.

    The atoms' states, which begin as an embedding of the elements, exchange
    messages in `blocks` residual `Interaction` blocks that see the distances
    between the atoms. Their sum over the molecule is what all tasks share; each
    task's head on it is two dense layers. A prediction does not change with the
    order of the atoms, the amount of padding, or the place and orientation of
    the molecule.

    With the default sizes and the eleven tasks of QM9 it has 58,011 weights, of
    which the tasks share 49,200.

    Example:

    ```python
    tasks = keras_mtl.datasets.qm9.TASKS
    model = keras_mtl.MultiTaskModel(*keras_mtl.models.message_passing(tasks))
    ```

    Args:
        tasks: Names of the tasks, each a regression on one number.
        units: Width of the atoms' states.
        channels: Width of a state when it is sent to the other atoms.
        gaussians: Number of Gaussians into which a distance is expanded.
        blocks: Number of rounds of messages.
        head_units: Width of the hidden layer of each head.
        max_atoms: Number of atoms, with padding, of the molecules; those of QM9
            have up to 29. With `None` it may change from batch to batch, but
            JAX cannot export the model.

    Returns:
        `(inputs, outputs)`, the arguments of a Functional model. `inputs` has
        `"atoms"`, atomic numbers up to 9 of shape `(batch, max_atoms)`, zero
        for padding, and `"positions"`, in angstrom, of shape
        `(batch, max_atoms, 3)`.
        `outputs` has, for each task, a tensor of shape `(batch, 1)`.

    References:

    - [Gilmer et al., 2017](https://arxiv.org/abs/1704.01212), the messages.
    - [Schuett et al., 2017](https://arxiv.org/abs/1706.08566), the residual
      blocks and the Gaussians.
    """
    atoms = keras.Input((max_atoms,), dtype="int32", name="atoms")
    positions = keras.Input((max_atoms, 3), name="positions")
    distances = DistanceExpansion(
        gaussians,
        # Half precision would round the distances by more than bonds differ.
        dtype=keras.config.dtype_policy().variable_dtype,
        name="distances",
    )(atoms, positions)
    states = keras.layers.Embedding(
        _MAX_ATOMIC_NUMBER + 1,
        units,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0),
        name="elements",
    )(atoms)
    for i in range(blocks):
        states = Interaction(units, channels, name=f"interaction_{i + 1}")(
            states, distances
        )
    states = keras.layers.Dense(units, "silu", name="atom_features")(states)
    features = AtomSum(name="features")(states, atoms)
    inputs = {"atoms": atoms, "positions": positions}
    return inputs, {task: _head(task, head_units, features) for task in tasks}


def _head(task, units, features):
    hidden = keras.layers.Dense(units, "silu", name=f"{task}_hidden")(features)
    return keras.layers.Dense(1, name=task)(hidden)
