"""Networks for the examples, each an `(inputs, outputs)` pair of one graph."""

from keras_mtl.models.message_passing import message_passing

__all__ = ["message_passing"]
