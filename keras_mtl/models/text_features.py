"""What the networks for texts begin with: word vectors and convolutions."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

Tensor = Any


def word_vectors(
    tokens: Tensor,
    vocabulary_size: int,
    units: int,
    embeddings: np.ndarray | None = None,
    train_embeddings: bool = True,
) -> Tensor:
    """Looks up the vectors of words.

    Args:
        tokens: Symbolic integers of shape `(batch, words)`.
        vocabulary_size: Number of words.
        units: Width of vectors that begin at random.
        embeddings: Vectors to begin with, of shape `(vocabulary_size, units)`,
            or `None`.
        train_embeddings: Whether they are trained.

    Returns:
        Symbolic tensor of shape `(batch, words, units)`.
    """
    if embeddings is not None:
        embeddings = np.asarray(embeddings, "float32")
        if embeddings.ndim != 2 or len(embeddings) != vocabulary_size:
            raise ValueError(
                "Expected `embeddings` to have one row for each of the "
                f"{vocabulary_size} words of `vocabulary_size`. Received: "
                f"embeddings of shape {embeddings.shape}"
            )
        units = embeddings.shape[1]
    layer = layers.Embedding(
        vocabulary_size, units, trainable=train_embeddings, name="words"
    )
    words = layer(tokens)
    if embeddings is not None:
        # As an initializer, they would be in the config of the model, as text.
        layer.set_weights([embeddings])
    return words


def text_features(
    words: Tensor, kernels: Sequence[int], filters: int, prefix: str = ""
) -> Tensor:
    """Finds the largest response of each filter anywhere in a text.

    Args:
        words: Symbolic tensor of shape `(batch, words, units)`.
        kernels: Numbers of words that a filter sees.
        filters: Number of filters of each size.
        prefix: What the names of the layers begin with.

    Returns:
        Symbolic tensor of shape `(batch, len(kernels) * filters)`.
    """
    features = []
    for size in kernels:
        x = layers.Conv1D(
            filters,
            size,
            padding="same",
            activation="relu",
            data_format="channels_last",
            name=f"{prefix}convolution_{size}",
        )(words)
        x = layers.GlobalMaxPooling1D(
            data_format="channels_last", name=f"{prefix}maximum_{size}"
        )(x)
        features.append(x)
    if len(features) == 1:
        return features[0]
    return layers.Concatenate(name=f"{prefix}features")(features)


def text_head(
    task: str, features: Tensor, classes: int, dropout: float
) -> Tensor:
    """Classifies by one layer, of which dropout hides a part of the input."""
    dropped = keras.layers.Dropout(dropout, name=f"{task}_dropout")(features)
    return layers.Dense(classes, activation="softmax", name=task)(dropped)
