from jax import numpy as jnp

from keras_mtl.training.pullback import Pullback


class VjpPullback(Pullback):
    """The gradients of a pass from calls of `jax.vjp`.

    Args:
        split: `GraphSplit`.
        variables: List of all trainable variables.
        trunk: Tuple of the pullback of the trunk, its outputs, a dict of key to
            tensor, and the list of the losses that its layers added.
        heads: Tuple of the pullback of the heads, the losses, and the sum of
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
        self._pull_trunk, self._boundary, self._trunk_added = trunk
        self._pull_heads, self._losses, self._heads_added = heads
        self._pull_regularizers, self._regularization = regularizers
        self._scale = scale
        self._is_overridden = is_overridden

    def heads(self):
        gradients, copies = self._through_heads([1.0] * len(self._losses))
        own = self._split.head_variables
        return copies, {t: self._pick(gradients, own[t]) for t in own}

    def trunk(self, cotangents, variables):
        return self._pick(self._through_trunk(cotangents), variables)

    def loss(self, task, variables):
        one = [float(task == other) for other in self._split.tasks]
        gradients, _ = self._through_heads(one)
        return self._pick(gradients, variables)

    def penalty(self, variables):
        parts, copies = [], {}
        if self._regularization is not None:
            scale = _like(self._regularization, self._scale)
            parts += self._pull_regularizers(scale)
        trunk_added = [self._scale] * len(self._trunk_added)
        if self._heads_added is not None:
            gradients, copies, of_trunk, _ = self._through_penalty(self._scale)
            parts.append(gradients)
            trunk_added = of_trunk if self._is_overridden else trunk_added
        if trunk_added:
            parts.append(self._through_trunk({}, trunk_added))
        if not parts:
            return [None] * len(variables), {}
        parts = [self._pick(part, variables) for part in parts]
        return [sum(gradients) for gradients in zip(*parts)], copies

    def factor(self):
        if not self._is_overridden:
            return None
        *_, factor = self._through_penalty(1.0)
        return factor

    def _pick(self, gradients, variables):
        return [gradients[self._places[id(v)]] for v in variables]

    def _through_heads(self, losses):
        losses = [jnp.float32(loss) * self._scale for loss in losses]
        nothing = _like(self._heads_added, 0.0)
        gradients, copies, _, _ = self._pull_heads((losses, nothing))
        return gradients, copies

    def _through_penalty(self, scale):
        zeros = [jnp.float32(0.0)] * len(self._losses)
        return self._pull_heads((zeros, _like(self._heads_added, scale)))

    def _through_trunk(self, cotangents, added=None):
        boundary = {
            key: jnp.zeros_like(tensor)
            if cotangents.get(key) is None
            else cotangents[key]
            for key, tensor in self._boundary.items()
        }
        added = added or [0.0] * len(self._trunk_added)
        added = list(map(_like, self._trunk_added, added))
        (gradients,) = self._pull_trunk((boundary, added))
        return gradients


def _like(reference, value):
    """Returns `value` as a cotangent of `reference`, which may be `None`."""
    return None if reference is None else jnp.asarray(value, reference.dtype)
