import jax
import keras
from jax import numpy as jnp

from keras_mtl.backend.keras_internals import call_scope
from keras_mtl.backend.keras_internals import get_keras_mask
from keras_mtl.backend.keras_internals import set_keras_mask
from keras_mtl.training import balancing
from keras_mtl.training.skipped_step import is_skipped
from keras_mtl.training.skipped_step import scales_loss


class BackendTrainer:
    """`train_step` on JAX, stateless."""

    def train_step(self, state, data):
        logs, new_state = self._train_step(state, data)
        if self.weighting.needs_losses_after:
            new_state = self._tell_losses_after(state, new_state, data)
        if scales_loss(self):
            new_state = self._undo_if_skipped(state, new_state)
        return logs, new_state

    def _undo_if_skipped(self, old_state, state):
        """See `backend.skipped_step`, which is the same with variables."""
        with self._optimizer_scope(old_state[2]):
            scale = self.optimizer.scale_loss(jnp.ones(()))
        trainable, others, *rest = state
        with self._optimizer_scope(rest[0]):
            skipped = is_skipped(self.optimizer, scale)
        own = {id(v) for v in self.weighting.variables}
        others = [
            jnp.where(skipped, old, new) if id(v) in own else new
            for v, old, new in zip(
                self.non_trainable_variables, old_state[1], others
            )
        ]
        return (trainable, others, *rest)

    def _optimizer_scope(self, optimizer_state):
        pairs = zip(self.optimizer.variables, optimizer_state)
        return keras.StatelessScope(pairs)

    def _tell_losses_after(self, old_state, state, data):
        """See `backend.after_step`, which is the same with variables."""
        trainable, others, *rest = state
        network = {id(v) for v in self.network_state()}
        # The forward pass begins as that of the step did.
        mixed = [
            old if id(v) in network else new
            for v, old, new in zip(
                self.non_trainable_variables, old_state[1], others
            )
        ]
        batch = keras.utils.unpack_x_y_sample_weight(data)
        with self._scope(trainable, mixed) as scope:
            self.weighting.after_step(self.losses_after_step(*batch))
        updated = self._updated(scope, self.non_trainable_variables)
        others = [
            new if id(v) in network else value
            for v, new, value in zip(
                self.non_trainable_variables, others, updated
            )
        ]
        return (trainable, others, *rest)

    def _train_step(self, state, data):
        trainable, others, optimizer_state, metrics_state = state
        with self._optimizer_scope(optimizer_state):
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
        batch = keras.utils.unpack_x_y_sample_weight(data)
        x, y, sample_weight = batch
        part = None
        if self.measures_part_of_batch:
            part, *_ = self._forward(
                trainable,
                others,
                metrics_state,
                balancing.part_of_batch(batch, self.weighting.gramian_batch),
                scale,
                self.losses_without_metrics,
            )
        pullback, losses, penalty, y_pred, others, metrics_state = (
            self._forward(
                trainable,
                others,
                metrics_state,
                batch,
                scale,
                self.compute_task_losses,
            )
        )
        mapping = [(self.metrics_variables, metrics_state)]
        with self._scope(trainable, others, *mapping) as scope:
            gradients, weights = balancing.balanced_gradients(
                self._split,
                self.weighting,
                jnp.stack(losses),
                pullback,
                scale,
                part,
            )
            self.update_weight_metrics(weights)
        others = self._updated(scope, self.non_trainable_variables)
        metrics_state = self._updated(scope, self.metrics_variables)
        gradients = balancing.add_penalty(
            self._split, gradients, pullback, self.trainable_variables
        )
        gradients = [
            jnp.zeros_like(value) if g is None else g
            for g, value in zip(gradients, trainable)
        ]
        trainable, optimizer_state = self.optimizer.stateless_apply(
            optimizer_state, gradients, trainable
        )
        logs, metrics_state = self._update_metrics_variables(
            metrics_state,
            self.total_loss(losses, penalty),
            x,
            y,
            y_pred,
            sample_weight,
        )
        return logs, (trainable, others, optimizer_state, metrics_state)

    def _forward(
        self, trainable, others, metrics_state, batch, scale, compute_losses
    ):
        """Runs the trunk and the heads.

        Returns:
            Tuple `(pullback, losses, penalty, y_pred, others, metrics_state)`,
            the last two as the pass leaves them.
        """
        x, y, sample_weight = batch

        def trunk(trainable):
            with self._scope(trainable, others) as scope:
                with call_scope(self, training=True):
                    values = self._split.run_trunk(self.flat_inputs(x), True)
                added = self.sum_penalties(scope.losses)
            boundary = {key: values[key] for key in self._split.boundary}
            masks = {key: get_keras_mask(v) for key, v in values.items()}
            rest = self._updated(scope, self.non_trainable_variables)
            return (boundary, added), (values, masks, rest)

        (boundary, trunk_added), pull_trunk, (values, masks, rest) = jax.vjp(
            trunk, trainable, has_aux=True
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
            with self._scope(trainable, rest, *mapping) as scope:
                with call_scope(self, training=True):
                    y_pred = self.run_heads(values, copies, True)
                added = self.sum_penalties(scope.losses)
                losses = compute_losses(y, y_pred, sample_weight)
            after = self._updated(scope, self.non_trainable_variables)
            metrics = self._updated(scope, self.metrics_variables)
            return (losses, added), (y_pred, after, metrics)

        (losses, heads_added), pull_heads, (y_pred, after, metrics_state) = (
            jax.vjp(heads, trainable, copies, has_aux=True)
        )

        def regularize(trainable):
            with self._scope(trainable, after):
                return self.compute_penalty()

        regularization, pull_regularizers = jax.vjp(regularize, trainable)
        pullback = VjpPullback(
            self._split,
            self.trainable_variables,
            (pull_trunk, boundary, trunk_added),
            (pull_heads, losses, heads_added),
            (pull_regularizers, regularization),
            scale,
        )
        penalties = [trunk_added, heads_added, regularization]
        penalties = [p for p in penalties if p is not None]
        penalty = sum(penalties) if penalties else None
        return pullback, losses, penalty, y_pred, after, metrics_state

    def compute_loss_and_updates(self, *args, **kwargs):
        # Layers know the losses that they added by the ids of tensors, which
        # new tensors may have again.
        self._clear_losses()
        return super().compute_loss_and_updates(*args, **kwargs)

    def _scope(self, trainable, others, *more):
        pairs = [
            (self.trainable_variables, trainable),
            (self.non_trainable_variables, others),
            *more,
        ]
        mapping = [pair for each in pairs for pair in zip(*each)]
        self._clear_losses()
        return keras.StatelessScope(mapping, collect_losses=True)

    def _updated(self, scope, variables):
        return [scope.get_current_value(v) for v in variables]


class VjpPullback:
    """The gradients that `balancing` needs, from calls of `jax.vjp`."""

    is_fused = True
    stack = staticmethod(jnp.stack)

    def __init__(self, split, variables, trunk, heads, regularizers, scale):
        self._split = split
        self._places = {id(v): i for i, v in enumerate(variables)}
        self._pull_trunk, self._boundary, self._trunk_added = trunk
        self._pull_heads, self._losses, self._heads_added = heads
        self._pull_regularizers, self._regularization = regularizers
        self._scale = scale

    def _pick(self, gradients, variables):
        return [gradients[self._places[id(v)]] for v in variables]

    def _through_heads(self, losses, added=0.0):
        losses = [jnp.float32(loss) * self._scale for loss in losses]
        return self._pull_heads((losses, _like(self._heads_added, added)))

    def _through_trunk(self, cotangents, added=0.0):
        boundary = {
            key: jnp.zeros_like(tensor)
            if cotangents.get(key) is None
            else cotangents[key]
            for key, tensor in self._boundary.items()
        }
        added = _like(self._trunk_added, added)
        (gradients,) = self._pull_trunk((boundary, added))
        return gradients

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
        if self._trunk_added is not None:
            parts.append(self._through_trunk({}, self._scale))
        if self._heads_added is not None:
            zeros = [0.0] * len(self._losses)
            gradients, copies = self._through_heads(zeros, self._scale)
            parts.append(gradients)
        if not parts:
            return [None] * len(variables), {}
        parts = [self._pick(part, variables) for part in parts]
        return [sum(gradients) for gradients in zip(*parts)], copies


def _like(reference, value):
    """Returns `value` as a cotangent of `reference`, which may be `None`."""
    return None if reference is None else jnp.asarray(value, reference.dtype)


def _set_mask(tensor, mask):
    if mask is not None:
        set_keras_mask(tensor, mask)
