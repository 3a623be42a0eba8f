"""Masks that Keras keeps with a tensor."""

from keras import ops

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


def common_mask(masks):
    """Returns the mask of a sum of tensors, as `keras.layers.Add` has it.

    Args:
        masks: List of the masks of the tensors, each of which may be `None`.

    Returns:
        Mask of what is there in any of the tensors, or `None`.
    """
    if any(mask is None for mask in masks):
        return None
    common = masks[0]
    for mask in masks[1:]:
        # All are the same where the tensors come from one input.
        common = common if mask is common else ops.logical_or(common, mask)
    return common
