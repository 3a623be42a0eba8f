"""Networks of the papers, each an `(inputs, outputs)` pair of one graph."""

from keras_mtl.models.glove import glove_embeddings
from keras_mtl.models.message_passing import message_passing
from keras_mtl.models.text_cnn import text_cnn

__all__ = ["glove_embeddings", "message_passing", "text_cnn"]
