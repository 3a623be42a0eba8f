from collections.abc import Iterable
from typing import Any

import keras
from keras import layers

from keras_mtl.architectures.arguments import task_names
from keras_mtl.models.atom_update import AtomUpdate
from keras_mtl.models.edge_convolution import EdgeConvolution
from keras_mtl.models.pair_features import PairFeatures
from keras_mtl.models.set2set import Set2Set

Tensor = Any

_MAX_ATOMIC_NUMBER = 9


def mpnn(
    tasks: Iterable[str],
    units: int = 64,
    edge_units: int = 128,
    steps: int = 3,
    readings: int = 3,
    max_atoms: int | None = 29,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The message-passing network of the papers on QM9, one head per task.

    That of Nash-MTL's and IGB's experiments, which is the example of PyTorch
    Geometric: `steps` times, an `EdgeConvolution` (NNConv) sends messages and a
    GRU updates the atoms, with the same weights each time; `Set2Set` reads the
    molecule; a dense layer makes the features that the tasks share; a head is
    one dense layer.

    It takes what `message_passing` takes, elements and positions. So an atom
    begins as an embedding of its element, and the edge network sees distances;
    in the papers, they also see what RDKit tells of atoms and bonds. With the
    default sizes and the eleven tasks of QM9 it has 616,779 weights, of which
    the tasks share 616,064. `message_passing` has a tenth of them.

    Example:

    ```python
    tasks = keras_mtl.datasets.qm9.TASKS
    model = keras_mtl.MultiTaskModel(*keras_mtl.models.mpnn(tasks))
    ```

    Args:
        tasks: Names of the tasks, each a regression on one number.
        units: Width of the atoms' states.
        edge_units: Width of the hidden layer of the edge network.
        steps: Number of rounds of messages.
        readings: Number of steps of `Set2Set`.
        max_atoms: See `message_passing`.

    Returns:
        `(inputs, outputs)`, as those of `message_passing`.

    Raises:
        ValueError: `tasks` are no different names.

    References:

    - [Gilmer et al., 2017](https://arxiv.org/abs/1704.01212), the network.
    - [Navon et al., 2022](https://arxiv.org/abs/2202.01017), its sizes, and the
      mean over the neighbors.
    """
    tasks = task_names(tasks)
    atoms = keras.Input((max_atoms,), dtype="int32", name="atoms")
    positions = keras.Input((max_atoms, 3), name="positions")
    pairs = PairFeatures(
        edge_units,
        # Half precision would round the distances by more than bonds differ.
        dtype=keras.config.dtype_policy().variable_dtype,
        name="pairs",
    )(atoms, positions)
    states = layers.Embedding(
        _MAX_ATOMIC_NUMBER + 1,
        units,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0),
        name="elements",
    )(atoms)
    states = layers.ReLU(name="first_states")(states)
    convolution = EdgeConvolution(name="messages")
    update = AtomUpdate(name="update")
    for _ in range(steps):
        states = update(convolution(states, pairs), states)
    molecule = Set2Set(readings, name="molecule")(states, atoms)
    features = layers.Dense(units, "relu", name="features")(molecule)
    inputs = {"atoms": atoms, "positions": positions}
    return inputs, {
        task: layers.Dense(1, name=task)(features) for task in tasks
    }
