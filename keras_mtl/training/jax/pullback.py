import jax
from jax import numpy as jnp
from jax.interpreters import partial_eval

from keras_mtl.backend.compiling import entries
from keras_mtl.backend.numerics import total_of
from keras_mtl.training.pullback import Pullback


class VjpPullback(Pullback):
    """The gradients of a pass from calls of `jax.vjp`.

    Args:
        split: `GraphSplit`.
        variables: List of all trainable variables.
        trunk: `TrunkPullback`.
        heads: Tuple of the pullback of the heads, which takes `None` for the
            cotangent of a loss that does not count; the losses; and the sum of
            the losses that their layers added, or what an override of
            `compute_loss` returned.
        regularizers: Tuple of the pullback of the regularizers and their sum.
        scale: Scalar, the loss scale.
        is_overridden: Whether a subclass overrides `compute_loss`, to which
            the losses that the trunk added were handed, then.
    """

    is_fused = True

    def __init__(
        self,
        split,
        variables,
        trunk,
        heads,
        regularizers,
        scale,
        is_overridden=False,
    ):
        self._split = split
        self._places = {id(v): i for i, v in enumerate(variables)}
        self._trunk = trunk
        self._pull_heads, self._losses, self._heads_added = heads
        self._pull_regularizers, self._regularization = regularizers
        self.scale = scale
        self._is_overridden = is_overridden
        self._rows = {}

    @property
    def few_rows(self):
        # It was measured on CPUs; elsewhere, each pair is a program of its own.
        return 11 if jax.default_backend() == "cpu" else 4

    def heads(self):
        own = self._split.head_variables
        if self._split.is_of_losses and self._split.keeps_rows:
            cross = self._split.cross_variables
            rows = {t: self.loss(t, [*cross, *own[t]]) for t in own}
            self._rows = {
                t: dict(zip(map(id, cross), row)) for t, row in rows.items()
            }
            return {}, {t: rows[t][len(cross) :] for t in own}
        gradients, copies = self._through_heads([1.0] * len(self._losses))
        return copies, {t: self._pick(gradients, own[t]) for t in own}

    def trunk(self, cotangents, variables):
        if not variables:
            return []
        return self._pick(self._trunk.pull(cotangents), variables)

    def loss(self, task, variables):
        row = self._rows.get(task, {})
        if all(id(v) in row for v in variables):
            return [row[id(v)] for v in variables]
        one = [1.0 if task == t else None for t in self._split.tasks]
        gradients, _ = self._through_heads(one)
        return self._pick(gradients, variables)

    def weighted(self, weights, variables):
        gradients, _ = self._through_heads(entries(weights))
        return self._pick(gradients, variables)

    def penalty(self, variables):
        parts, copies = [], {}
        if self._regularization is not None:
            scale = _like(self._regularization, self.scale)
            parts += self._pull_regularizers(scale)
        trunk_added = [self.scale] * len(self._trunk.added)
        if self._heads_added is not None:
            gradients, copies, of_trunk, _ = self._through_penalty(self.scale)
            parts.append(gradients)
            trunk_added = of_trunk if self._is_overridden else trunk_added
        if trunk_added:
            parts.append(self._trunk.pull({}, trunk_added))
        if not parts:
            return [None] * len(variables), {}
        parts = [self._pick(part, variables) for part in parts]
        return [*map(total_of, zip(*parts))], copies

    def factor(self):
        if not self._is_overridden:
            return None
        *_, factor = self._through_penalty(1.0)
        return factor

    def _pick(self, gradients, variables):
        return [gradients[self._places[id(v)]] for v in variables]

    def _through_heads(self, factors):
        cotangents = [
            None if factor is None else _like(loss, factor * self.scale)
            for loss, factor in zip(self._losses, factors)
        ]
        gradients, copies, _, _ = self._pull_heads((cotangents, None))
        return gradients, copies

    def _through_penalty(self, scale):
        nothing = [None] * len(self._losses)
        return self._pull_heads((nothing, _like(self._heads_added, scale)))


class TrunkPullback:
    """The backward pass of the trunk, for some of its outputs at a time.

    Args:
        function: Function of the trainable values that returns
            `((boundary, added), rest)`: a dict of key to tensor, the list of
            the losses that layers added, and what is not differentiated.
        trainable: List of arrays.

    Attributes:
        boundary: That dict.
        added: That list.
        rest: What the function returned beside them.
    """

    def __init__(self, function, trainable):
        (self.boundary, self.added), self._linear, self.rest = jax.linearize(
            function, trainable, has_aux=True
        )
        self._trainable = trainable
        self._used = {}

    def pull(self, cotangents, added=()):
        """Pulls cotangents to the trainable values.

        An output without a cotangent takes no part in it, nor what it alone
        depends on.

        Args:
            cotangents: Dict of boundary key to array, or `None` for zeros.
            added: List of the cotangents of `added`, by default zeros.

        Returns:
            List of arrays, `None` for what the outputs do not depend on.
        """
        keys = tuple(k for k, c in cotangents.items() if c is not None)
        of_outputs = [_like(self.boundary[k], cotangents[k]) for k in keys]
        of_outputs += map(_like, self.added, added)

        def linear(tangents):
            boundary, of_added = self._linear(tangents)
            return [*(boundary[k] for k in keys), *(of_added if added else [])]

        outputs = keys, bool(added)
        if outputs not in self._used:
            self._used[outputs] = _used_inputs(linear, self._trainable)
        used = self._used[outputs]
        transposed = jax.linear_transpose(linear, self._trainable)
        (gradients,) = transposed(of_outputs)
        return [g if is_used else None for g, is_used in zip(gradients, used)]


def _used_inputs(function, inputs):
    """Lists, for each of the inputs, whether a function depends on it."""
    jaxpr = jax.make_jaxpr(function)(inputs).jaxpr
    return partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[1]


def _like(reference, value):
    """Returns `value` as a cotangent of `reference`, which may be `None`."""
    return None if reference is None else jnp.asarray(value, reference.dtype)


def vjp_of_losses(function, *inputs):
    """Differentiates losses, and what is added to them.

    Args:
        function: Function of the inputs that returns `((losses, added), rest)`,
            a list of scalars, a scalar or `None`, and what is not
            differentiated.
        *inputs: Nests of arrays.

    Returns:
        Tuple `((losses, added), pull, rest)`. The function `pull` takes
        `(cotangents, cotangent)`, each `None` where it is zero, and returns the
        gradients of the inputs.
    """
    (losses, added), pull, rest = jax.vjp(function, *inputs, has_aux=True)

    def pull_all(cotangents):
        of_losses, of_added = cotangents
        of_losses = [
            jnp.zeros_like(loss) if cotangent is None else cotangent
            for loss, cotangent in zip(losses, of_losses)
        ]
        if added is not None and of_added is None:
            of_added = jnp.zeros_like(added)
        return pull((of_losses, of_added))

    return (losses, added), pull_all, rest


def transposes_of_losses(function, *inputs):
    """Does what `vjp_of_losses` does, loss by loss.

    What a loss does not depend on takes no part in its backward pass, which
    matters where it is not cut off by a boundary.

    Returns:
        As `vjp_of_losses`, and a fourth entry: a list, for each loss, of a
        Boolean for each leaf of the inputs, whether the loss depends on it.
    """
    (losses, added), linear, rest = jax.linearize(
        function, *inputs, has_aux=True
    )

    def pull(cotangents):
        given = [*cotangents[0], cotangents[1]]
        places = [i for i, x in enumerate(given) if x is not None]

        def chosen(*tangents):
            of_losses, of_added = linear(*tangents)
            outputs = [*of_losses, of_added]
            return [outputs[i] for i in places]

        transposed = jax.linear_transpose(chosen, *inputs)
        return transposed([given[i] for i in places])

    def tangents(*tangents):
        return linear(*tangents)[0]

    jaxpr = jax.make_jaxpr(tangents)(*inputs).jaxpr
    reached = [
        partial_eval.dce_jaxpr(jaxpr, [i == k for k in range(len(losses))])[1]
        for i in range(len(losses))
    ]
    return (losses, added), pull, rest, reached
