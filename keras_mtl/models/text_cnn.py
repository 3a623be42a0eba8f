from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_mtl.models.tasks import classes_of
from keras_mtl.models.text_features import text_features
from keras_mtl.models.text_features import text_head
from keras_mtl.models.text_features import word_vectors

Tensor = Any


def text_cnn(
    tasks: Iterable[str],
    vocabulary_size: int,
    max_words: int | None = None,
    classes: int | Mapping[str, int] = 2,
    units: int = 50,
    embeddings: np.ndarray | None = None,
    train_embeddings: bool = True,
    kernels: Sequence[int] = (3, 5, 7),
    filters: int = 100,
    dropout: float = 0.5,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A TextCNN that all tasks share, with one layer for each task.

    The network of BanditMTL's experiments: the word vectors pass through
    convolutions of 3, 5 and 7 words, side by side. The largest response of
    each filter, anywhere in the text, is what the tasks share. A head is
    dropout and one dense layer with a softmax.

    Example:

    ```python
    train, validation, test, vocabulary = fdu_mtl.load_data("fdu_mtl")
    model = keras_mtl.MultiTaskModel(
        *keras_mtl.models.text_cnn(
            train[1],
            len(vocabulary),
            embeddings=keras_mtl.models.glove_embeddings(vocabulary),
        )
    )
    model.compile("adam", loss="sparse_categorical_crossentropy")
    ```

    Args:
        tasks: Names of the tasks.
        vocabulary_size: Number of words, padding among them.
        max_words: Number of words of a text, with padding, or `None` if it
            may change from batch to batch.
        classes: Number of classes, of all tasks or by task.
        units: Width of the word vectors, if they begin at random.
        embeddings: Word vectors to begin with, of shape
            `(vocabulary_size, units)`, or `None`. They are weights of the
            model, not in its config: a clone begins at random.
        train_embeddings: Whether the word vectors are trained.
        kernels: Sizes of the convolutions, in words.
        filters: Number of filters of each size, which the paper does not tell.
            100 is Kim's.
        dropout: Share of the features that is hidden from a head in training.

    Returns:
        `(inputs, outputs)`, the arguments of a Functional model. `inputs` has
        `"tokens"`, the places of words in the vocabulary, of shape
        `(batch, max_words)`. `outputs` has, for each task, the probabilities of
        the classes, shape `(batch, classes)`.

    Raises:
        ValueError: `tasks` are no different names, `classes` are of other
            tasks, or `embeddings` have another number of rows.

    References:

    - [Kim, 2014](https://arxiv.org/abs/1408.5882), TextCNN.
    - [Mao et al., 2021](https://aclanthology.org/2021.acl-long.428/), section
      5.3, the sizes.
    """
    classes = classes_of(tasks, classes)
    tokens = keras.Input((max_words,), dtype="int32", name="tokens")
    words = word_vectors(
        tokens, vocabulary_size, units, embeddings, train_embeddings
    )
    features = text_features(words, kernels, filters)
    outputs = {
        task: text_head(task, features, count, dropout)
        for task, count in classes.items()
    }
    return {"tokens": tokens}, outputs
