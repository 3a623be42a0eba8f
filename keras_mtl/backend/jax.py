import jax
import keras
from jax import numpy as jnp
from keras.src.backend import get_keras_mask
from keras.src.backend import set_keras_mask

from keras_mtl import balancing


class BackendTrainer:
    """`train_step` on JAX, stateless."""

    def train_step(self, state, data):
        trainable, others, optimizer_state, metrics_state = state
        with keras.StatelessScope(
            zip(self.optimizer.variables, optimizer_state)
        ):
            rate = jnp.asarray(self.optimizer.learning_rate, "float32")
            scale = self.optimizer.scale_loss(jnp.ones(()))
        rates = {id(v) for v in self.weighting.learning_rate_variables}
        others = [
            rate if id(v) in rates else value
            for v, value in zip(self.non_trainable_variables, others)
        ]
        if not self.weighting.needs_gradients:
            state = (trainable, others, optimizer_state, metrics_state)
            return super().train_step(state, data)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)

        def trunk(trainable):
            with self._scope(trainable, others) as scope:
                values = self._split.run_trunk(self.flat_inputs(x), True)
                penalty = self.sum_penalties(scope.losses)
            boundary = {key: values[key] for key in self._split.boundary}
            masks = {key: get_keras_mask(v) for key, v in values.items()}
            rest = self._updated(scope, self.non_trainable_variables)
            return (boundary, penalty), (values, masks, rest)

        (boundary, trunk_penalty), pull_trunk, (values, masks, others) = (
            jax.vjp(trunk, trainable, has_aux=True)
        )
        copies = {
            (key, task): boundary[key]
            for key, tasks in self._split.boundary.items()
            for task in tasks
        }

        def heads(trainable, copies):
            for key, mask in masks.items():
                _set_mask(values[key], mask)
            # New arrays, for one mask each.
            for (key, _), tensor in copies.items():
                _set_mask(tensor, masks[key])
            mapping = [(self.metrics_variables, metrics_state)]
            with self._scope(trainable, others, *mapping) as scope:
                y_pred = self.run_heads(values, copies, True)
                losses = self.compute_task_losses(y, y_pred, sample_weight)
                penalty = self.compute_penalty()
            rest = self._updated(scope, self.non_trainable_variables)
            metrics = self._updated(scope, self.metrics_variables)
            return (losses, penalty), (y_pred, rest, metrics)

        (losses, head_penalty), pull_heads, (y_pred, others, metrics_state) = (
            jax.vjp(heads, trainable, copies, has_aux=True)
        )
        pullback = VjpPullback(
            self._split,
            self.trainable_variables,
            (pull_trunk, boundary, trunk_penalty),
            (pull_heads, losses, head_penalty),
            scale,
        )
        mapping = [(self.metrics_variables, metrics_state)]
        with self._scope(trainable, others, *mapping) as scope:
            gradients, weights = balancing.balanced_gradients(
                self._split, self.weighting, jnp.stack(losses), pullback, scale
            )
            self.update_weight_metrics(weights)
        others = self._updated(scope, self.non_trainable_variables)
        metrics_state = self._updated(scope, self.metrics_variables)
        gradients = balancing.add_penalty(
            gradients, pullback, self.trainable_variables
        )
        gradients = [
            jnp.zeros_like(value) if g is None else g
            for g, value in zip(gradients, trainable)
        ]
        trainable, optimizer_state = self.optimizer.stateless_apply(
            optimizer_state, gradients, trainable
        )
        penalties = [p for p in (trunk_penalty, head_penalty) if p is not None]
        logs, metrics_state = self._update_metrics_variables(
            metrics_state,
            self.total_loss(losses, sum(penalties) if penalties else None),
            x,
            y,
            y_pred,
            sample_weight,
        )
        return logs, (trainable, others, optimizer_state, metrics_state)

    def _scope(self, trainable, others, *more):
        pairs = [
            (self.trainable_variables, trainable),
            (self.non_trainable_variables, others),
            *more,
        ]
        mapping = [pair for each in pairs for pair in zip(*each)]
        return keras.StatelessScope(mapping, collect_losses=True)

    def _updated(self, scope, variables):
        return [scope.get_current_value(v) for v in variables]


class VjpPullback:
    """The gradients that `balancing` needs, from two calls of `jax.vjp`."""

    def __init__(self, split, variables, trunk, heads, scale):
        self._split = split
        self._places = {id(v): i for i, v in enumerate(variables)}
        self._pull_trunk, self._boundary, self._trunk_penalty = trunk
        self._pull_heads, self._losses, self._head_penalty = heads
        self._scale = scale

    def _pick(self, gradients, variables):
        return [gradients[self._places[id(v)]] for v in variables]

    def _through_heads(self, losses, penalty):
        if self._head_penalty is None:
            penalty = None
        return self._pull_heads(([x * self._scale for x in losses], penalty))

    def heads(self):
        ones = [jnp.ones(())] * len(self._losses)
        gradients, copies = self._through_heads(ones, jnp.zeros(()))
        own = self._split.head_variables
        return copies, {t: self._pick(gradients, own[t]) for t in own}

    def trunk(self, cotangents, variables):
        cotangents = {
            key: jnp.zeros_like(tensor)
            if cotangents.get(key) is None
            else cotangents[key]
            for key, tensor in self._boundary.items()
        }
        penalty = None if self._trunk_penalty is None else jnp.zeros(())
        (gradients,) = self._pull_trunk((cotangents, penalty))
        return self._pick(gradients, variables)

    def loss(self, task, variables):
        one = [jnp.float32(task == other) for other in self._split.tasks]
        gradients, _ = self._through_heads(one, jnp.zeros(()))
        return self._pick(gradients, variables)

    def penalty(self, variables):
        parts = []
        if self._trunk_penalty is not None:
            zeros = keras.tree.map_structure(jnp.zeros_like, self._boundary)
            parts += self._pull_trunk((zeros, self._scale))
        if self._head_penalty is not None:
            zeros = [jnp.zeros(())] * len(self._losses)
            parts += self._through_heads(zeros, self._scale)[:1]
        if not parts:
            return None
        return [sum(gs) for gs in zip(*(self._pick(p, variables) for p in parts))]


def _set_mask(tensor, mask):
    if mask is not None:
        set_keras_mask(tensor, mask)
