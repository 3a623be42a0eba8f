"""A forward pass on JAX, in parts that can be pulled back by themselves."""

import contextlib

import jax
from jax import numpy as jnp

from keras_mtl.backend.keras_internals import call_in_step
from keras_mtl.backend.keras_internals import get_keras_mask
from keras_mtl.backend.masks import with_mask
from keras_mtl.training.jax.pullback import TrunkPullback
from keras_mtl.training.jax.pullback import VjpPullback
from keras_mtl.training.jax.pullback import transposes_of_losses
from keras_mtl.training.jax.pullback import vjp_of_losses
from keras_mtl.training.jax.split_check import check_split
from keras_mtl.training.split_call import call_heads
from keras_mtl.training.split_call import call_trunk
from keras_mtl.training.step_loss import step_loss


class Pass:
    """The trunk, the heads and the regularizers on one batch.

    Each is a function of the trainable values, the heads also of the copies of
    the boundary tensors; what else it takes and returns is not differentiated.
    An override of `compute_loss`, which may add anything, runs with the heads.

    Args:
        model: `MultiTaskModel`.
        split: `GraphSplit`.
        state: `State` before the pass.
        batch: `(x, y, sample_weight)`.
        record: Whether the metrics get the losses.

    Attributes:
        state: `State` after the pass.
        losses: List of scalars.
        total: The loss of the history.
        y_pred: The outputs.
    """

    def __init__(self, model, split, state, batch, record):
        self._model = model
        self._split = split
        self._batch = batch
        self._record = record
        self._before = state
        self._is_overridden = model._overrides("compute_loss")
        trunk = TrunkPullback(self._run_trunk, state.trainable)
        boundary, trunk_added = trunk.boundary, trunk.added
        values, masks, others = trunk.rest
        copies = {
            (key, task): boundary[key]
            for key, tasks in split.boundary.items()
            for task in tasks
        }

        def run_heads(trainable, copies, added, offset):
            passed = values, masks, others
            return self._run_heads(trainable, copies, added, offset, *passed)

        inputs = state.trainable, copies, trunk_added, jnp.zeros(())
        (self.losses, added), pull_heads, rest = self._differentiated(
            run_heads, inputs
        )
        check_split(split, run_heads, inputs)
        self.y_pred, others, metrics = rest
        self.state = state._replace(others=others, metrics=metrics)
        self._parts = (
            trunk,
            (pull_heads, self.losses, added),
            self._add_up(trunk_added, added),
        )

    def _differentiated(self, run_heads, inputs):
        """Runs the heads, and returns as `vjp_of_losses`."""
        if not self._split.is_of_losses:
            return vjp_of_losses(run_heads, *inputs)
        *results, reached = transposes_of_losses(run_heads, *inputs)
        variables = self._model.trainable_variables
        self._split.sort(
            [
                {id(v) for v, is_used in zip(variables, used) if is_used}
                for used in reached
            ]
        )
        return results

    def _add_up(self, trunk_added, added):
        """Sets `total`.

        Returns:
            Tuple of the pullback of the regularizers and their sum.
        """
        if self._is_overridden:
            self.total = added
            return None, None
        regularization, pull_regularizers = jax.vjp(
            self._regularize, self._before.trainable
        )
        penalties = [*trunk_added, added, regularization]
        penalties = [p for p in penalties if p is not None]
        penalty = sum(penalties) if penalties else None
        self.total = self._model._total_loss(self.losses, penalty)
        return pull_regularizers, regularization

    def pullback(self, scale):
        """Returns the `Pullback` of the losses times `scale`."""
        return VjpPullback(
            self._split,
            self._model.trainable_variables,
            *self._parts,
            scale,
            self._is_overridden,
        )

    def _run_trunk(self, trainable):
        x, _, _ = self._batch
        if self._split.is_of_losses:
            return ({}, []), ({}, {}, self._before.others)
        state = self._before._replace(trainable=trainable)
        with self._model._scope(state, "trainable", "others") as scope:
            values = call_trunk(self._model, self._split, x)
            added = self._aggregated(scope.losses)
        boundary = {key: values[key] for key in self._split.boundary}
        masks = {key: get_keras_mask(v) for key, v in values.items()}
        others = self._model._updated(scope, "others")
        return (boundary, added), (values, masks, others)

    def _run_heads(
        self, trainable, copies, trunk_added, offset, values, masks, others
    ):
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

            x = self._batch[0]
            if self._split.is_of_losses:
                y_pred = call_in_step(model, x, True)
            else:
                y_pred = call_heads(
                    model, self._split, x, values, copies, begin
                )
            added = self._aggregated(scope.losses[len(already) :])
            losses, added = self._losses(
                trainable, y_pred, [*trunk_added, *added], added, offset
            )
        after = [model._updated(scope, name) for name in ("others", "metrics")]
        return (losses, added), (y_pred, *after)

    def _losses(self, trainable, y_pred, all_added, added, offset):
        """Returns the task losses, and what is differentiated beside them."""
        model = self._model

        def cut(total):
            # The derivative for the offset is that for the sum of the losses.
            return jax.lax.stop_gradient(total) + offset

        if not self._is_overridden:
            loss = step_loss(
                model, self._batch, y_pred, cut, self._record, penalize=False
            )
            return loss.losses, sum(added) if added else None
        with self._losses_of_model(trainable, all_added):
            loss = step_loss(model, self._batch, y_pred, cut, self._record)
        return loss.losses, loss.total

    @contextlib.contextmanager
    def _losses_of_model(self, trainable, added):
        """A block in which `model.losses` are those of the whole pass."""
        model = self._model
        state = self._before._replace(trainable=trainable)
        with model._scope(state, "trainable", "others"):
            regularizers = list(model.losses)
        # Keras, too, hands them to `compute_loss` in this way on JAX.
        model._losses_override = [*added, *regularizers]
        try:
            yield
        finally:
            model._losses_override = []

    def _aggregated(self, losses):
        return [self._model._aggregate_additional_loss(x) for x in losses]

    def _regularize(self, trainable):
        state = self.state._replace(trainable=trainable)
        with self._model._scope(state, "trainable", "others"):
            return self._model._compute_penalty()
