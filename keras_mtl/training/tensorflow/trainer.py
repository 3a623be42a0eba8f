import contextlib

import keras
import tensorflow as tf

from keras_mtl.backend.keras_internals import has_several_workers
from keras_mtl.training.pullback import RecordedPullback
from keras_mtl.training.variables_step import VariablesTrainer


class TapePullback(RecordedPullback):
    """The gradients of a pass that a `tf.GradientTape` has recorded."""

    def use(self, tape, is_fused):
        self._tape = tape
        self.is_fused = is_fused

    def gradients(self, targets, variables, cotangents=None):
        # The tape does not take a Keras variable in all modes, but its value.
        sources = [
            v.value if isinstance(v, keras.Variable) else v for v in variables
        ]
        return _dense(self._tape.gradient(targets, sources, cotangents))

    def stack(self, rows):
        if self.is_fused or tf.executing_eagerly():
            return super().stack(rows)
        # Each row goes to its place as soon as it is there, so that there are
        # never all rows and the matrix as well. (`tf.parallel_stack` does the
        # same, and fails in loops.) Some rows have no static shape, as that of
        # a dense layer on a sequence.
        shape = [len(rows), *tf.unstack(tf.shape(rows[0]))]
        matrix = tf.raw_ops.Empty(shape=shape, dtype=rows[0].dtype)
        for i, row in enumerate(rows):
            matrix = tf.raw_ops.InplaceUpdate(x=matrix, i=[i], v=row[None])
        return matrix


class BackendTrainer(VariablesTrainer):
    """`train_step` on TensorFlow."""

    _pullback_class = TapePullback

    @staticmethod
    def _recorded():
        return tf.GradientTape(persistent=True)

    @staticmethod
    def _cut(tensor, tape):
        tensor = tf.identity(tf.stop_gradient(tensor))
        tape.watch(tensor)
        return tensor

    @staticmethod
    def _gradients_of(target, variables, tape):
        return tape.gradient(target, [v.value for v in variables])

    @staticmethod
    def _gradients_at(target, tensors, tape):
        return _dense(tape.gradient(target, tensors))

    def _reached(self, losses, tape):
        # No gradient is used, so that a graph runs none of them.
        variables = self.trainable_variables
        rows = [self._gradients_of(loss, variables, tape) for loss in losses]
        return [
            {id(v) for v, g in zip(variables, row) if g is not None}
            for row in rows
        ]

    @staticmethod
    def _same_numbers():
        # All random numbers of Keras's layers come from seeds in variables.
        return contextlib.nullcontext

    def _compiled_as_step(self, function):
        if self.run_eagerly:
            return function
        return tf.function(
            tf.autograph.experimental.do_not_convert(function),
            reduce_retracing=True,
            jit_compile=self.jit_compile,
        )

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # With a strategy, Keras builds the metrics with the mean of the parts
        # of a batch, which fails for parts of different sizes or of several
        # workers. Any part will do.
        if iterator is not None and self._distribute_strategy is not None:
            data_batch = keras.tree.map_structure(
                self._first_part, next(next(iter(iterator))[-1])
            )
            iterator = None
        super()._maybe_symbolic_build(iterator, data_batch)

    def _make_function(self, step_function):
        def step_of_worker(data):
            # Keras takes the mean of each log of several workers along its
            # first axis.
            logs = step_function(data)
            return keras.tree.map_structure(lambda log: log[None], logs)

        if has_several_workers(self.distribute_strategy):
            return super()._make_function(step_of_worker)
        return super()._make_function(step_function)

    def _first_part(self, tensor):
        if tensor is None:
            return None
        return self.distribute_strategy.experimental_local_results(tensor)[0]


def _dense(gradients):
    # The gradient of an embedding is sparse.
    return [g if g is None else tf.convert_to_tensor(g) for g in gradients]
