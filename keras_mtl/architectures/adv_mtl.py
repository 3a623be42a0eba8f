from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from keras import layers

from keras_mtl.architectures.arguments import check_tensors
from keras_mtl.architectures.arguments import is_vector
from keras_mtl.architectures.arguments import prefixed
from keras_mtl.architectures.arguments import task_names
from keras_mtl.architectures.experts import inputs_and_experts
from keras_mtl.architectures.orthogonality import Orthogonality
from keras_mtl.architectures.task_adversary import TaskAdversary

Tensor = Any


def adv_mtl(
    x: Any,
    task: Tensor,
    tasks: Iterable[str],
    expert: Callable[[str], Any],
    private: Callable[[str], Any] | None = None,
    adversary_weight: float = 0.05,
    orthogonality_weight: float = 0.01,
    name: str = "adv_mtl",
) -> dict[str, Tensor]:
    """A shared and a private encoder, which learn different things.

    A classifier that tries to tell the task from the shared features, with its
    gradient reversed (`TaskAdversary`), keeps what is particular to a task out
    of them; a penalty (`Orthogonality`) keeps what is shared out of the private
    ones. Both are losses of the model, added to the tasks' losses whatever the
    weighting, which neither sees nor balances them.

    It is for data of which each example is of one task. The private encoders
    see all examples of a batch, and the time grows with the number of tasks.

    Shared: the shared encoder and the classifier. Own: the private encoders.

    Example:

    ```python
    x = keras.Input((10,))
    task = keras.Input((1,), dtype="int32", name="task")
    features = keras_mtl.architectures.adv_mtl(
        x, task, ["books", "films"], lambda name: keras.layers.Dense(64, "relu")
    )
    outputs = {t: keras.layers.Dense(1)(h) for t, h in features.items()}
    model = keras_mtl.MultiTaskModel([x, task], outputs)
    ```

    Args:
        x: See `mmoe`.
        task: Symbolic integers of shape `(batch, 1)`, the index of the task
            that each example is of. The two losses depend on it, but no
            output: for predictions, it may be -1.
        tasks: See `mmoe`.
        expert: Function of a name that makes an encoder, whose output has the
            shape `(batch, units)`: the shared one, and those of the tasks.
        private: As `expert`, for the encoders of the tasks.
        adversary_weight: Factor of the classifier's loss, λ in the paper.
        orthogonality_weight: Factor of the penalty, γ in the paper.
        name: See `mmoe`.

    Returns:
        Dict of task to symbolic tensor, the shared and the private features
        side by side.

    Raises:
        ValueError: See `mmoe`; or an encoder does not return a vector for each
            example, or `task` is of another shape.

    References:

    - [Liu et al., 2017](https://aclanthology.org/P17-1001/), the method; λ and
      γ of its section 5.
    - [Bousmalis et al., 2016](https://arxiv.org/abs/1608.06019), the penalty.
    """
    names = task_names(tasks)
    check_tensors("task", task)
    makers = [expert, expert if private is None else private]
    make = inputs_and_experts(x, makers, len(makers))
    shared = _vectors(make, prefixed(name, "expert"), x, 0)
    adversary = TaskAdversary(
        len(names), adversary_weight, name=prefixed(name, "shared")
    )
    shared = adversary(shared, task)
    features = {}
    for i, one in enumerate(names):
        own = prefixed(name, one)
        penalty = Orthogonality(i, orthogonality_weight, name=f"{own}_private")
        h = penalty(_vectors(make, own, x, 1), shared, task)
        both = layers.Concatenate(name=f"{own}_both")
        features[one] = both([shared, h])
    return features


def _vectors(make, name, x, level):
    h = make(name, x, level)
    if not is_vector(h):
        raise ValueError(
            f"Expected the encoder {name!r} to return a vector for each "
            f"example, of shape (batch, units). Received: {h}. End it with a "
            "pooling layer, such as `keras.layers.GlobalMaxPooling1D()`."
        )
    return h
