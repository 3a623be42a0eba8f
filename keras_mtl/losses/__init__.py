"""The losses of the tasks, with labels that may be missing."""

from keras_mtl.losses.output_is_loss import OutputIsLoss

__all__ = ["OutputIsLoss"]
