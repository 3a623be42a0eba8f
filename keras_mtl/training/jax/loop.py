"""A step of a loop of the user's own on JAX."""

import dataclasses

import jax
import keras
from jax import numpy as jnp

from keras_mtl.training.balancing import balanced_gradients
from keras_mtl.training.jax.pullback import VjpPullback
from keras_mtl.training.jax.pullback import transposes_of_losses
from keras_mtl.training.loop import loop_of
from keras_mtl.training.loop import stacked


@dataclasses.dataclass(eq=False)
class Leaf:
    """An array among parameters, which stands for it as a variable."""

    path: str


def gradients_of(function, weighting, parameters, shared, loss_scale):
    """Returns losses and balanced gradients, in the scope of the weighting.

    Args:
        function: Function of the parameters that returns the losses and what is
            passed on.
        weighting: `Weighting` that is built.
        parameters: Nest of arrays.
        shared: Nest of Booleans, or `None`.
        loss_scale: Scalar.

    Returns:
        Tuple of what the function returned and the gradients, a nest as
        `parameters`.
    """
    loop = loop_of(weighting)
    arrays, structure = jax.tree_util.tree_flatten(parameters)

    def losses_of(arrays):
        losses, rest = function(jax.tree_util.tree_unflatten(structure, arrays))
        return (loop.in_order(losses), None), (losses, rest)

    (losses, _), pull, returned, reached = transposes_of_losses(
        losses_of, arrays
    )
    leaves = _leaves(parameters)
    if shared is not None:
        shared = _chosen(leaves, parameters, shared)
    split = loop.new_split(leaves, shared)
    split.sort([_ids(leaves, used) for used in reached])
    pullback = VjpPullback(
        split,
        leaves,
        trunk=None,
        heads=(lambda x: (*pull(x), {}, [], None), losses, None),
        regularizers=(None, None),
        scale=loss_scale,
    )
    gradients = _balanced(split, weighting, stacked(losses), pullback)
    gradients = [
        jnp.zeros_like(array)
        if gradients.get(id(leaf)) is None
        else jnp.asarray(gradients[id(leaf)], array.dtype)
        for leaf, array in zip(leaves, arrays)
    ]
    return returned, jax.tree_util.tree_unflatten(structure, gradients)


def _balanced(split, weighting, losses, pullback):
    if weighting.needs_gradients:
        scale = pullback.scale
        gradients, _ = balanced_gradients(
            split, weighting, losses, pullback, scale
        )
        return gradients
    leaves = split.variables
    gradients = pullback.weighted(weighting(losses), leaves)
    return dict(zip(map(id, leaves), gradients))


def tasks_of(function, weighting, parameters):
    """Builds a weighting for the losses that a function returns."""
    loop = loop_of(weighting)

    def losses_of(parameters):
        return loop.in_order(function(parameters)[0])

    losses = jax.eval_shape(losses_of, parameters)
    if not weighting.built:
        weighting.build((len(losses),))


def in_scope(weighting, state, function):
    """Runs a function with other values in a weighting's variables.

    Args:
        weighting: `Weighting`.
        state: List of these values.
        function: Function without arguments.

    Returns:
        Tuple of what it returned, and the list of the values after it.
    """
    variables = weighting.variables
    if not weighting.built or len(state) != len(variables):
        raise ValueError(
            "Expected the state that `init` or the last step returned. "
            f"Received: {type(state)} of {len(state)} entries for a weighting "
            f"with {len(variables)} variables"
        )
    with keras.StatelessScope(list(zip(variables, state))) as scope:
        result = function()
    return result, [scope.get_current_value(v) for v in variables]


def _leaves(parameters):
    pairs, _ = jax.tree_util.tree_flatten_with_path(parameters)
    return [Leaf(jax.tree_util.keystr(path)) for path, _ in pairs]


def _ids(leaves, used):
    return {id(leaf) for leaf, is_used in zip(leaves, used) if is_used}


def _chosen(leaves, parameters, shared):
    """Lists the leaves for which a nest of Booleans, or of parts, has True."""
    try:
        whole = jax.tree_util.tree_map(
            lambda is_shared, part: jax.tree_util.tree_map(
                lambda _: bool(is_shared), part
            ),
            shared,
            parameters,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Expected `shared` to have True or False for each part of the "
            f"parameters, as {{'trunk': True, 'heads': False}}. Received: "
            f"shared={shared}"
        ) from error
    flags = jax.tree_util.tree_leaves(whole)
    return [leaf for leaf, is_shared in zip(leaves, flags) if is_shared]
