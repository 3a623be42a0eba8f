"""The shared variables on which the gradients of the tasks are compared."""


def measured_variables(split, weighting):
    """Returns the shared variables on which the gradients are compared.

    Args:
        split: `GraphSplit`.
        weighting: `Weighting` with `needs_gradients`.

    Returns:
        List of variables.

    Raises:
        ValueError: If nothing is shared, or the weighting names layers that
            do not exist or are not shared.
    """
    _check_is_shared(split, weighting)
    if weighting.measurement.shared == "auto":
        return split.shared_variables
    if weighting.measurement.shared == "last":
        return split.last_shared_variables
    chosen = set()
    for name in weighting.measurement.shared:
        chosen |= _shared_of_layer(split, name, weighting.measurement.shared)
    return [v for v in split.shared_variables if id(v) in chosen]


def _check_is_shared(split, weighting):
    if not split.shared_variables:
        raise ValueError(
            f"{type(weighting).__name__} balances the gradients of variables "
            "that tasks share. Expected a trainable variable that two or more "
            f"tasks share. Received: the tasks {split.tasks}, which "
            f"{_what_is_shared(split)}"
        )
    if weighting.measurement.gradients == "features" and not split.boundary:
        raise ValueError(
            'gradients="features" needs a trunk that ends before the heads of '
            "the tasks begin, and the tasks share only layers inside of their "
            'heads. Use gradients="parameters".'
        )


def _what_is_shared(split):
    """Says what tasks share that is not trained, and what to do."""
    instead = 'use a loss balancing, such as weighting="uncertainty"'
    frozen = split.frozen_layers()
    if not frozen:
        return f"share nothing with weights. Share a layer, or {instead}."
    return (
        f"share frozen layers only: {frozen}. Either {instead}, or unfreeze "
        f"one, `model.get_layer({frozen[-1]!r}).trainable = True`, and compile "
        "again."
    )


def _shared_of_layer(split, name, shared):
    """Returns the ids of the shared variables of a layer."""
    layer = split.layers.get(name)
    if layer is None:
        raise ValueError(
            "`shared` names a layer that the model does not have, or that "
            f"no task depends on: {name!r}. Known: {sorted(split.layers)}. "
            f"Received: shared={shared}"
        )
    ids = {id(v) for v in layer.variables}
    ids &= {id(v) for v in split.shared_variables}
    if not ids:
        raise ValueError(
            f"`shared` names the layer {name!r}, which has no trainable "
            "variable that two or more tasks share. "
            f"Received: shared={shared}"
        )
    return ids
