import keras
import tensorflow as tf

from keras_mtl.backend.keras_internals import has_several_workers
from keras_mtl.backend.keras_internals import unscale_loss_for_distribution
from keras_mtl.training import balancing
from keras_mtl.training.after_step import state_kept
from keras_mtl.training.after_step import step_with_losses_after
from keras_mtl.training.pullback import Pullback
from keras_mtl.training.skipped_step import undone_if_skipped


class BackendTrainer:
    """`train_step` on TensorFlow."""

    def train_step(self, data):
        with undone_if_skipped(self):
            if self.weighting.needs_losses_after:
                return step_with_losses_after(self, self._train_step, data)
            return self._train_step(data)

    def _train_step(self, data):
        for variable in self.weighting.learning_rate_variables:
            variable.assign(self.optimizer.learning_rate)
        if not self.weighting.needs_gradients:
            return super().train_step(data)
        batch = keras.utils.unpack_x_y_sample_weight(data)
        x, y, sample_weight = batch
        scale = self.optimizer.scale_loss(tf.ones(()))
        part = None
        if self.measures_part_of_batch:
            fraction = self.weighting.measurement.gramian_batch
            with state_kept(self):
                part, *_ = self._forward(
                    *balancing.part_of_batch(batch, fraction),
                    scale,
                    self.losses_without_metrics,
                )
        pullback, losses, penalty, y_pred = self._forward(
            x, y, sample_weight, scale, self.compute_task_losses
        )
        gradients, weights = balancing.balanced_gradients(
            self._split,
            self.weighting,
            unscale_loss_for_distribution(tf.stack(losses)),
            pullback,
            scale,
            part,
        )
        variables = self.trainable_variables
        gradients = balancing.add_penalty(
            self._split, gradients, pullback, variables
        )
        self.optimizer.apply_gradients(zip(gradients, variables))
        self.update_weight_metrics(weights)
        self._loss_tracker.update_state(
            unscale_loss_for_distribution(self.total_loss(losses, penalty)),
            sample_weight=tf.shape(self.first_input(x))[0],
        )
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

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
            # Of several workers, Keras takes the mean of each log along its
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

    def _forward(self, x, y, sample_weight, scale, compute_losses):
        with tf.GradientTape(persistent=True) as tape:

            def copy(tensor):
                tensor = tf.identity(tf.stop_gradient(tensor))
                tape.watch(tensor)
                return tensor

            y_pred, values, copies = self.forward_in_two(x, copy)
            losses = compute_losses(y, y_pred, sample_weight)
            scaled_losses = [loss * scale for loss in losses]
            penalty = self.compute_penalty()
            scaled_penalty = None if penalty is None else penalty * scale
        pullback = TapePullback(
            self._split, values, copies, scaled_losses, scaled_penalty
        )
        pullback.tape = tape
        pullback.is_fused = self.jit_compile
        return pullback, losses, penalty, y_pred


class TapePullback(Pullback):
    def gradients(self, targets, variables, cotangents=None):
        # `v.value`: the tape does not take a Keras variable in all modes.
        sources = [getattr(v, "value", v) for v in variables]
        gradients = self.tape.gradient(targets, sources, cotangents)
        # The gradient of an embedding is sparse.
        return [g if g is None else tf.convert_to_tensor(g) for g in gradients]

    def stack(self, rows):
        if self.is_fused or tf.executing_eagerly():
            return super().stack(rows)
        # Each row goes to its place as soon as it is there, so that there are
        # never all rows and the matrix as well. (`tf.parallel_stack` does the
        # same, and fails in loops.)
        # Some have no static shape, as that of a dense layer on a sequence.
        shape = [len(rows), *tf.unstack(tf.shape(rows[0]))]
        matrix = tf.raw_ops.Empty(shape=shape, dtype=rows[0].dtype)
        for i, row in enumerate(rows):
            matrix = tf.raw_ops.InplaceUpdate(x=matrix, i=[i], v=row[None])
        return matrix
