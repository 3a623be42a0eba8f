"""A forward pass on JAX, in parts that can be pulled back by themselves."""

import jax
from jax import numpy as jnp

from keras_mtl.backend.keras_internals import get_keras_mask
from keras_mtl.backend.masks import with_mask
from keras_mtl.training.jax.pullback import VjpPullback
from keras_mtl.training.jax.split_check import check_split
from keras_mtl.training.split_call import call_heads
from keras_mtl.training.split_call import call_trunk


class Pass:
    """The trunk, the heads and the regularizers on one batch.

    Each is a function of the trainable values, the heads also of the copies of
    the boundary tensors; what else it takes and returns is not differentiated.

    Args:
        model: `MultiTaskModel`.
        split: `GraphSplit`.
        state: `State` before the pass.
        batch: `(x, y, sample_weight)`.
        record: Whether the metrics get the losses.

    Attributes:
        state: `State` after the pass.
        losses: List of scalars.
        penalty: Sum of regularizers and `add_loss`, or `None`.
        y_pred: The outputs.
    """

    def __init__(self, model, split, state, batch, record):
        self._model = model
        self._split = split
        self._batch = batch
        self._record = record
        self._before = state
        (boundary, trunk_added), pull_trunk, (values, masks, others) = jax.vjp(
            self._run_trunk, state.trainable, has_aux=True
        )
        copies = {
            (key, task): boundary[key]
            for key, tasks in split.boundary.items()
            for task in tasks
        }

        def run_heads(trainable, copies):
            return self._run_heads(trainable, copies, values, masks, others)

        (self.losses, heads_added), pull_heads, rest = jax.vjp(
            run_heads, state.trainable, copies, has_aux=True
        )
        check_split(split, run_heads, state.trainable, copies)
        self.y_pred, others, metrics = rest
        self.state = state._replace(others=others, metrics=metrics)
        regularization, pull_regularizers = jax.vjp(
            self._regularize, state.trainable
        )
        penalties = [trunk_added, heads_added, regularization]
        penalties = [p for p in penalties if p is not None]
        self.penalty = sum(penalties) if penalties else None
        self._parts = (
            (pull_trunk, boundary, trunk_added),
            (pull_heads, self.losses, heads_added),
            (pull_regularizers, regularization),
        )

    def pullback(self, scale):
        """Returns the `Pullback` of the losses times `scale`."""
        variables = self._model.trainable_variables
        return VjpPullback(self._split, variables, *self._parts, scale)

    def _run_trunk(self, trainable):
        x, _, _ = self._batch
        state = self._before._replace(trainable=trainable)
        with self._model._scope(state, "trainable", "others") as scope:
            values = call_trunk(self._model, self._split, x)
            added = self._model._sum_penalties(scope.losses)
        boundary = {key: values[key] for key in self._split.boundary}
        masks = {key: get_keras_mask(v) for key, v in values.items()}
        others = self._model._updated(scope, "others")
        return (boundary, added), (values, masks, others)

    def _run_heads(self, trainable, copies, values, masks, others):
        x, y, sample_weight = self._batch
        model, state = self._model, self._before._replace(trainable=trainable)
        for key, mask in masks.items():
            with_mask(mask, values[key])
        # Each copy becomes an array of its own, for a mask of its own.
        copies = {
            (key, task): with_mask(masks[key], jnp.asarray(tensor))
            for (key, task), tensor in copies.items()
        }
        names = ("trainable", "others", "metrics")
        with model._scope(state, *names) as scope:
            already = []

            def begin():
                # What a subclass does before the graph has run with the trunk.
                already.extend(scope.losses)
                model._assign("others", others)

            y_pred = call_heads(model, self._split, x, values, copies, begin)
            added = model._sum_penalties(scope.losses[len(already) :])
            losses = model._task_losses.compute(
                y, y_pred, sample_weight, record=self._record
            )
        after = [model._updated(scope, name) for name in ("others", "metrics")]
        return (losses, added), (y_pred, *after)

    def _regularize(self, trainable):
        state = self.state._replace(trainable=trainable)
        with self._model._scope(state, "trainable", "others"):
            return self._model._compute_penalty()
