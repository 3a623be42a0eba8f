from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_mtl import architectures
from keras_mtl.models.tasks import classes_of
from keras_mtl.models.text_features import text_features
from keras_mtl.models.text_features import text_head
from keras_mtl.models.text_features import word_vectors

Tensor = Any


def adv_mtl(
    tasks: Iterable[str],
    vocabulary_size: int,
    max_words: int | None = None,
    classes: int | Mapping[str, int] = 2,
    units: int = 50,
    embeddings: np.ndarray | None = None,
    train_embeddings: bool = True,
    kernels: Sequence[int] = (3, 5, 7),
    filters: int = 100,
    private_filters: int | None = None,
    dropout: float = 0.5,
    adversary_weight: float = 0.05,
    orthogonality_weight: float = 0.01,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """AdvMTL: a shared and a private encoder, which learn different things.

    It is `keras_mtl.architectures.adv_mtl` on word vectors. A head sees the
    features of the encoder that all tasks share, and those of its own. The
    losses of the adversary and of the penalty are added to the tasks' losses
    whatever the weighting, which neither sees nor balances them.

    The encoders are those of `text_cnn`, as in BanditMTL's comparison, in place
    of the paper's LSTM. The private ones see every text of a batch, and the
    time grows with the number of tasks: fewer `private_filters` save some.

    The trunk is the word vectors, the shared encoder and the adversary. The
    layer `"shared"` hands out the shared features.

    Example:

    ```python
    train, *_, vocabulary = fdu_mtl.load_data("fdu_mtl")
    x, y = train
    has_label = [~np.isnan(labels) for labels in y.values()]
    x = {**x, "task": np.argmax(has_label, axis=0)}
    model = keras_mtl.MultiTaskModel(
        *keras_mtl.models.adv_mtl(y, len(vocabulary))
    )
    ```

    Args:
        tasks: Names of the tasks.
        vocabulary_size: See `text_cnn`.
        max_words: See `text_cnn`.
        classes: See `text_cnn`.
        units: See `text_cnn`.
        embeddings: See `text_cnn`.
        train_embeddings: See `text_cnn`.
        kernels: See `text_cnn`.
        filters: See `text_cnn`; of the shared encoder.
        private_filters: Number of filters of each size of a private encoder, by
            default that of the shared one.
        dropout: See `text_cnn`.
        adversary_weight: Factor of the classifier's loss, λ in the paper.
        orthogonality_weight: Factor of the penalty, γ in the paper.

    Returns:
        `(inputs, outputs)`, the arguments of a Functional model. `inputs` has
        `"tokens"`, as that of `text_cnn`, and `"task"`, the index of the task
        that each text is of, shape `(batch, 1)`. On it depend the two losses,
        but no output: for predictions, it may be -1. `outputs` has, for each
        task, the probabilities of the classes, shape `(batch, classes)`.

    Raises:
        ValueError: See `text_cnn`.

    References:

    - [Liu et al., 2017](https://aclanthology.org/P17-1001/), the method; λ and
      γ of its section 5.
    - [Bousmalis et al., 2016](https://arxiv.org/abs/1608.06019), the penalty.
    """
    classes = classes_of(tasks, classes)
    tokens = keras.Input((max_words,), dtype="int32", name="tokens")
    task = keras.Input((1,), dtype="int32", name="task")
    words = word_vectors(
        tokens, vocabulary_size, units, embeddings, train_embeddings
    )
    features = architectures.adv_mtl(
        words,
        task,
        classes,
        lambda name: _encoder(kernels, filters, ""),
        lambda name: _encoder(kernels, private_filters or filters, f"{name}_"),
        adversary_weight,
        orthogonality_weight,
        name="",
    )
    outputs = {
        name: text_head(name, features[name], count, dropout)
        for name, count in classes.items()
    }
    return {"tokens": tokens, "task": task}, outputs


def _encoder(kernels, filters, prefix):
    return lambda words: text_features(words, kernels, filters, prefix)
