"""A step of a loop of the user's own on TensorFlow."""

import contextlib

import keras
import tensorflow as tf

from keras_mtl.backend import replicas
from keras_mtl.training.balancing import balanced_gradients
from keras_mtl.training.loop import loop_of
from keras_mtl.training.loop import stacked
from keras_mtl.training.step_loss import StepLoss
from keras_mtl.training.tensorflow.trainer import TapePullback


def tape_gradient(tape, losses, variables, weighting, shared, loss_scale):
    """See `keras_mtl.loops.tape_gradient`."""
    loop = loop_of(weighting)
    losses = loop.in_order(losses)
    _check_one_replica()
    if not weighting.built:
        with tf.init_scope():
            weighting.build((len(losses),))
    variables = list(map(_raw, variables))
    if shared is not None:
        shared = _among(variables, list(map(_raw, shared)))
    with _explained(tape):
        if not weighting.needs_gradients:
            _check_reaches(tape, loop, losses, variables)
            weights = weighting(stacked(losses))
            return _of_weighted_sum(
                tape, losses, variables, weights * loss_scale
            )
        split = loop.split(variables, shared)
        loss = StepLoss(losses, None, None, None)
        pullback = TapePullback(split, {}, {}, loss, loss_scale)
        # Whether XLA compiles the loop cannot be known, and it may.
        pullback.use(tape, is_fused=True)
        gradients, _ = balanced_gradients(
            split, weighting, stacked(losses), pullback, loss_scale
        )
    return [gradients.get(id(v)) for v in variables]


def _check_reaches(tape, loop, losses, variables):
    """Checks in the first step that each loss depends on a variable.

    A tape that is not persistent gives one gradient only, that of the sum.
    """
    if loop.is_checked or not getattr(tape, "_persistent", False):
        return
    split = loop.new_split(variables, None)
    rows = [tape.gradient(loss, variables) for loss in losses]
    split.sort(
        [
            {id(v) for v, g in zip(variables, row) if g is not None}
            for row in rows
        ]
    )
    loop.is_checked = True


def _of_weighted_sum(tape, losses, variables, weights):
    cotangents = [
        tf.cast(weight, loss.dtype)
        for weight, loss in zip(tf.unstack(weights), losses)
    ]
    gradients = tape.gradient(losses, variables, cotangents)
    return [g if g is None else tf.convert_to_tensor(g) for g in gradients]


def _raw(variable):
    return variable.value if isinstance(variable, keras.Variable) else variable


def _among(variables, shared):
    known = set(map(id, variables))
    others = [getattr(v, "name", v) for v in shared if id(v) not in known]
    if others:
        raise ValueError(
            "Expected `shared` to be some of `variables`. Received: "
            f"{others}, which are not"
        )
    return shared


def _check_one_replica():
    if replicas.count() > 1:
        raise ValueError(
            "Expected one replica, on which the losses are those of the whole "
            f"batch. Received: {replicas.count()} replicas of a strategy. "
            "`MultiTaskModel.fit` balances tasks over replicas."
        )


@contextlib.contextmanager
def _explained(tape):
    try:
        yield
    except RuntimeError as error:
        if "persistent" not in str(error):
            raise
        raise ValueError(
            "Expected `tf.GradientTape(persistent=True)`, since the gradient "
            f"of each task is taken from the tape. Received: {tape}, which "
            "is not"
        ) from error
