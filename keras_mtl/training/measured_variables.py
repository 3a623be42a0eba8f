"""The shared variables on which the gradients of the tasks are compared."""

import itertools
import warnings

# No more pairs of tasks are named in a warning.
MAX_PAIRS = 5


def measured_variables(split, weighting):
    """Returns the shared variables on which the gradients are compared.

    Args:
        split: `GraphSplit` or `LossSplit`.
        weighting: `Weighting` with `needs_gradients`.

    Returns:
        List of variables.

    Raises:
        ValueError: If nothing is shared, or the weighting names layers that
            do not exist or are not shared.
    """
    _check_is_shared(split, weighting)
    if weighting.measurement.shared == "auto" or split.is_of_losses:
        return split.compared_variables
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
    if split.is_of_losses:
        split.check_measurement(weighting)
        return
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


def warn_of_unseen_conflicts(split, weighting):
    """Warns of tasks that share variables, but no tensor of the boundary.

    The gradients of two tasks with respect to different tensors have an inner
    product of 0, whatever they are with respect to the variables.

    Args:
        split: `GraphSplit`.
        weighting: `Weighting` with `needs_gradients`.
    """
    of_features = weighting.measurement.gradients == "features"
    if split.is_of_losses or not of_features:
        return
    trunk = {id(v) for v in split.trunk_variables}
    reached = {
        task: trunk & {id(v) for v in split.task_variables(task)}
        for task in split.tasks
    }
    seen = [{*tasks} for tasks in split.boundary.values()]
    unseen = [
        pair
        for pair in itertools.combinations(split.tasks, 2)
        if reached[pair[0]] & reached[pair[1]]
        and not any(tasks.issuperset(pair) for tasks in seen)
    ]
    if unseen:
        warnings.warn(_words_on_unseen(unseen), stacklevel=4)


def _words_on_unseen(pairs):
    more = f" and {len(pairs) - MAX_PAIRS} others" * (len(pairs) > MAX_PAIRS)
    return (
        'gradients="features" compares the tasks at the tensors that the '
        "shared trunk hands to the heads. These tasks share variables of the "
        "trunk, but none of those tensors, so that a conflict between them is "
        f"never seen: {pairs[:MAX_PAIRS]}{more}. Use "
        'gradients="parameters"; or, where one layer makes the features of '
        "each task, make it of several layers of the graph, as the functions "
        "of keras_mtl.architectures do."
    )
