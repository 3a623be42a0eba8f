from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import keras

from keras_mtl.architectures.arguments import check_tensors
from keras_mtl.architectures.arguments import prefixed
from keras_mtl.architectures.arguments import task_names
from keras_mtl.architectures.low_rank_adapters import LowRankAdapters

Tensor = Any


def lora(
    backbone: keras.Layer,
    tasks: Iterable[str],
    x: Any = None,
    rank: int = 4,
    alpha: float | None = None,
    targets: Sequence[str] | None = None,
    name: str = "lora",
) -> dict[str, Any]:
    """A frozen network with adapters of low rank for each task.

    The network runs once for each task, with the task's adapters
    (`LowRankAdapters`).

    Shared: the network, which is not trained. Own: the adapters. The tasks
    share nothing that is trained, unless it is before or behind: a gradient
    balancing has nothing to balance, a loss balancing does.

    Example:

    ```python
    backbone = keras_hub.models.BertBackbone.from_preset("bert_tiny_en_uncased")
    features = keras_mtl.architectures.lora(
        backbone, ["cola", "sst2"], targets=["query", "value"]
    )
    outputs = {
        task: keras.layers.Dense(2, "softmax")(h["pooled_output"])
        for task, h in features.items()
    }
    model = keras_mtl.MultiTaskModel(backbone.input, outputs)
    ```

    Args:
        backbone: See `LowRankAdapters`; a Functional or Sequential model, as
            those of KerasHub and `keras.applications`, or any built layer.
        tasks: See `mmoe`.
        x: What the network is called on, by default the model's own inputs.
            A layer that is no such model has none.
        rank: See `LowRankAdapters`.
        alpha: See `LowRankAdapters`.
        targets: See `LowRankAdapters`.
        name: See `mmoe`.

    Returns:
        Dict of task to what the network returns.

    Raises:
        ValueError: See `LowRankAdapters`; or `tasks` are no different names,
            or `x` is missing.

    Reference:
        [Hu et al., 2022](https://arxiv.org/abs/2106.09685).
    """
    names = task_names(tasks)
    if x is None:
        x = _input_of(backbone)
    check_tensors("x", x)
    return {
        task: LowRankAdapters(
            backbone, rank, alpha, targets, name=prefixed(name, task)
        )(x)
        for task in names
    }


def _input_of(backbone):
    if isinstance(backbone, keras.Sequential):
        inputs = backbone.inputs or [None]
        return inputs[0]
    return getattr(backbone, "input", None)
