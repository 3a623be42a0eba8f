"""Masks that Keras keeps with a tensor."""

from keras_mtl.backend.keras_internals import get_keras_mask
from keras_mtl.backend.keras_internals import set_keras_mask


def with_mask_of(source, tensor):
    """Returns `tensor` with the Keras mask of `source`, if it has one."""
    return with_mask(get_keras_mask(source), tensor)


def with_mask(mask, tensor):
    """Returns `tensor` with a mask, which may be `None`."""
    if mask is not None:
        set_keras_mask(tensor, mask)
    return tensor
