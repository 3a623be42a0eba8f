"""Labels that are missing: NaN in a floating-point label."""

from keras import ops
from keras.src import backend


def split_missing(y_true, y_pred):
    """Separates the labels that are there from those that are missing.

    A label is missing where it is NaN; with several components along its last
    axis, it is missing if any of them is NaN. Integer labels are never missing
    (give them a `sample_weight` of zero).

    Args:
        y_true: Labels of one task, of any shape.
        y_pred: Predictions of that task, of the rank of `y_true` or one more.

    Returns:
        Tuple `(y_true, present)`: the labels with zeros for missing ones, and
        a boolean tensor of the shape of the per-label losses, or `None` for
        integer labels.
    """
    y_true = ops.convert_to_tensor(y_true)
    if not backend.is_float_dtype(backend.standardize_dtype(y_true.dtype)):
        return y_true, None
    if len(y_true.shape) == len(y_pred.shape) - 1 and y_pred.shape[-1] == 1:
        y_true = ops.expand_dims(y_true, -1)
    missing = ops.isnan(y_true)
    y_true = ops.where(missing, ops.zeros_like(y_true), y_true)
    if len(y_true.shape) > 1 and len(y_true.shape) == len(y_pred.shape):
        missing = ops.any(missing, axis=-1)
    return y_true, ops.logical_not(missing)


def mask_predictions(y_pred, present):
    """Returns `y_pred` with `present` as (part of) its Keras mask.

    Keras's losses take the mean over the unmasked entries alone, and are zero
    where there are none.
    """
    mask = backend.get_keras_mask(y_pred)
    mask = present if mask is None else ops.logical_and(mask, present)
    # A new tensor: the mask must not reach others who hold `y_pred`.
    y_pred = ops.multiply(y_pred, 1)
    backend.set_keras_mask(y_pred, mask)
    return y_pred


def with_mask_of(source, tensor):
    """Returns `tensor` with the Keras mask of `source`, if it has one."""
    mask = backend.get_keras_mask(source)
    if mask is not None:
        backend.set_keras_mask(tensor, mask)
    return tensor


def combine_weights(sample_weight, present):
    """Multiplies sample weights with the indicator of present labels.

    Args:
        sample_weight: Tensor of the shape of `present`, or of its first axes,
            or `None`.
        present: Boolean tensor, or `None`.

    Returns:
        A tensor, or `None` if both are.
    """
    if sample_weight is None or present is None:
        return present if sample_weight is None else sample_weight
    present = ops.cast(present, "float32")
    sample_weight = ops.cast(sample_weight, "float32")
    while len(sample_weight.shape) < len(present.shape):
        sample_weight = ops.expand_dims(sample_weight, -1)
    while len(present.shape) < len(sample_weight.shape):
        present = ops.expand_dims(present, -1)
    return sample_weight * present


def by_output(what, values, output_keys):
    """Sorts values that were given for the outputs into a dict.

    Args:
        what: What the values are ("labels", ...), for the error.
        values: Dict of output name to value, or a list or tuple with one value
            per output.
        output_keys: List of the names of the outputs.

    Returns:
        Dict of output name to value.

    Raises:
        ValueError: If it is neither a dict nor has one value per output.
    """
    if isinstance(values, dict):
        return values
    if isinstance(values, (list, tuple)) and len(values) == len(output_keys):
        return dict(zip(output_keys, values))
    if isinstance(values, (list, tuple)):
        received = f"{len(values)} values"
    else:
        received = getattr(values, "shape", values)
    raise ValueError(
        f"Expected {what} to be a dict or list with one entry per output, that "
        f"is for {output_keys}. Received: {received}"
    )
