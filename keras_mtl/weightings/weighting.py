"""The base classes of all weightings."""

import inspect
import math
import warnings

import keras
from keras import ops

from keras_mtl.backend.keras_internals import scale_loss_for_distribution
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import inverse


class Weighting(keras.layers.Layer):
    """Base class of the methods that give one weight per task.

    A weighting is called once per training step on what is known of the tasks,
    and knows nothing of the model. A loss-balancing method is a class with
    `compute_weights(losses)`; everything it must remember is made with
    `add_weight` in `build_state`. Where a loss or a result is not finite, the
    last finite weights are returned and no state changes.

    Args:
        scale_invariant: Whether the weights are those of the logarithms of the
            losses: the objective is Σ λ log L, with λ what the method gives, so
            that the weights are λ / L and the scale of a loss does not matter
            (Dai et al. 2023, section 3.1). For loss balancing; needs positive
            losses.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        losses: Float tensor of shape `(T,)`, the task losses. A loss of exactly
            0 is that of a task which has no label in the batch.
        gramian: Float tensor of shape `(T, T)` with `gramian[i, j]` the inner
            product of the gradients of tasks `i` and `j`; for methods with
            `needs_gradients`.

    Returns:
        Float32 tensor of shape `(T,)`: the weights.

    Example:

    >>> class InverseSquare(keras_mtl.weightings.Weighting):
    ...     def compute_weights(self, losses):
    ...         return 1 / losses**2
    >>> InverseSquare()(np.array([0.5, 2.0]))
    [4.0, 0.25]
    """

    # What the table of methods says of a class.
    paper = ""
    year = None
    cost = "1 backward pass"

    needs_gradients = False
    # Whether the method is defined for positive losses only. A task whose loss
    # is zero or negative gets no weight in that step.
    needs_positive_losses = False
    # Whether the method must be told when epochs begin and end.
    needs_epochs = False
    # Whether the model writes its learning rate to `model_learning_rate`.
    needs_learning_rate = False
    # Whether the model calls `after_step`, which costs one more forward pass.
    needs_losses_after = False
    # Whether the weights are those of log L, whatever `scale_invariant` is.
    balances_logarithms = False

    def __init__(self, scale_invariant=False, **kwargs):
        # The weights decide the balance of gradients of all magnitudes:
        # float32 also where the network computes in float16.
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.scale_invariant = scale_invariant
        # Of gradient balancing it is refused, and there it may be a property.
        if scale_invariant and not self.needs_gradients:
            self.needs_positive_losses = True

    def build(self, losses_shape, gramian_shape=None):
        if len(losses_shape) != 1 or losses_shape[0] is None:
            raise ValueError(
                "Expected `losses` of shape (T,), one loss per task. "
                f"Received: losses.shape={tuple(losses_shape)}"
            )
        self.num_tasks = losses_shape[0]
        self.task_weights = self.add_state((self.num_tasks,), "ones", "weights")
        if self.needs_learning_rate:
            # The value is the one without a model.
            default = keras.initializers.Constant(1e-3)
            self.model_learning_rate = self.add_state(
                (), default, "model_learning_rate"
            )
        self.build_state(self.num_tasks)

    def build_state(self, num_tasks):
        """Makes the variables of the method, for `num_tasks` tasks."""

    def add_state(self, shape=(), initializer="zeros", name=None, **kwargs):
        """Adds a variable that is saved, restored and not trained."""
        return self.add_weight(
            shape=shape,
            initializer=initializer,
            trainable=False,
            name=name,
            **kwargs,
        )

    @property
    def learning_rate_variables(self):
        """The variables to which the model writes its learning rate."""
        return [self.model_learning_rate] if self.needs_learning_rate else []

    def add_optimizer(self, optimizer, variables):
        """Adds an optimizer for `variables`, with its state.

        The optimizer is the weighting's own: the model's keeps its variables
        when the weighting changes. `descend` and `train_where` take its steps.
        """
        optimizer.build(variables)
        self.optimizer_state = optimizer.variables
        return optimizer

    def descend(self, gradient, variable):
        """Takes a step of `self.optimizer` for one variable."""
        # The optimizer adds up the gradients of all replicas, which all have
        # the same one here.
        gradient = scale_loss_for_distribution(gradient)
        self.optimizer.apply([gradient], [variable])

    def train_where(self, labelled, gradient, variable):
        """Takes a step of `self.optimizer` for some of the tasks.

        A gradient of 0 would not do: Adam's moments move a variable then, too.

        Args:
            labelled: Boolean tensor of shape `(T,)`.
            gradient: Float tensor of shape `(T,)`.
            variable: Variable of shape `(T,)`.
        """
        per_task = [
            v
            for v in [variable, *self.optimizer.variables]
            if tuple(v.shape) == (self.num_tasks,)
        ]
        before = [ops.copy(v) for v in per_task]
        self.descend(gradient, variable)
        for v, old in zip(per_task, before):
            v.assign(ops.where(labelled, ops.convert_to_tensor(v), old))

    def call(self, losses, gramian=None):
        self._check_shapes(losses, gramian)
        valid = ops.all(ops.isfinite(losses))
        if self.needs_gradients:
            valid = ops.logical_and(valid, ops.all(ops.isfinite(gramian)))
            gramian = ops.where(valid, gramian, ops.eye(self.num_tasks))
        losses = ops.where(valid, losses, ops.ones_like(losses))

        def step():
            weights = self.weigh(losses, gramian)
            self.task_weights.assign(weights)
            return ops.logical_and(valid, ops.all(ops.isfinite(weights)))

        self._undo_unless(step)
        # Not the variable itself, which the next call changes.
        return ops.stop_gradient(ops.copy(self.task_weights))

    def _undo_unless(self, step):
        """Runs `step`; where it returns False, no variable changes."""
        unguarded = {id(v) for v in self.unguarded_variables()}
        state = [
            (v, ops.copy(v)) for v in self.variables if id(v) not in unguarded
        ]
        valid = step()
        for variable, value in state:
            new = ops.convert_to_tensor(variable)
            variable.assign(ops.where(valid, new, value))

    def unguarded_variables(self):
        """Lists large variables that the method itself writes only when valid.

        All others are copied in each step.
        """
        return []

    def untracked_variables(self):
        """Lists state that is not in Keras variables, in TensorFlow's say."""
        return []

    def weigh(self, losses, gramian):
        """Calls `compute_weights` with what it needs."""
        weights = self.compute_weights(losses)
        if self.scale_invariant and not self.balances_logarithms:
            weights = weights * inverse(losses)
        if self.needs_positive_losses:
            return ops.where(losses > TINY, weights, ops.zeros_like(weights))
        return weights

    def compute_weights(self, losses):
        """Computes the weights, shape `(T,)`, of finite `losses`."""
        raise NotImplementedError

    def head_weights(self):
        """Weights of the tasks' own parameters after a call, shape `(T,)`."""
        return ops.convert_to_tensor(self.task_weights)

    def after_step(self, losses):
        """Tells the method what the step did.

        The model calls it after each update if `needs_losses_after`.

        Args:
            losses: Float tensor of shape `(T,)`, the losses on the batch of the
                step, with the new parameters. Where one is not finite, nothing
                changes.
        """
        valid = ops.all(ops.isfinite(losses))
        losses = ops.where(valid, losses, ops.ones_like(losses))

        def step():
            self.update_after_step(losses)
            return valid

        self._undo_unless(step)

    def update_after_step(self, losses):
        """Updates the state of the method, from finite losses."""

    def on_epoch_begin(self):
        """Called before the first step of each epoch, outside of the step."""

    def on_epoch_end(self):
        """Called after the last step of each epoch, outside of the step."""

    def compute_output_spec(self, losses, gramian=None):
        return keras.KerasTensor(losses.shape, dtype="float32")

    def _own_state(self):
        """All variables but those of weightings inside of this one.

        Unlike other layers', they include the seeds of random numbers.
        """
        others = {id(v) for layer in self._layers for v in layer.variables}
        return [v for v in self.variables if id(v) not in others]

    def save_own_variables(self, store):
        for i, variable in enumerate(self._own_state()):
            store[str(i)] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store):
        variables = self._own_state()
        keys = sorted(store.keys(), key=int)
        shapes = [tuple(store[key].shape) for key in keys]
        expected = [tuple(v.shape) for v in variables]
        if shapes == expected:
            for key, variable in zip(keys, variables):
                variable.assign(store[key])
        elif shapes:
            # As with an optimizer: the network's weights are what counts.
            warnings.warn(
                f"Expected the state of {type(self).__name__}, variables of "
                f"shapes {expected}. Received: variables of shapes {shapes}. "
                "The file was saved with another weighting or other tasks; the "
                "state is left as it is.",
                stacklevel=2,
            )

    def get_config(self):
        # As in scikit-learn, each argument of the constructor is an attribute.
        names = {
            name
            for cls in type(self).__mro__
            if issubclass(cls, Weighting)
            for name in inspect.signature(cls.__init__).parameters
        } - {"self", "kwargs"}
        arguments = {name: getattr(self, name) for name in sorted(names)}
        serialize = keras.saving.serialize_keras_object
        return {**super().get_config(), **serialize(arguments)}

    @classmethod
    def from_config(cls, config):
        deserialize = keras.saving.deserialize_keras_object
        dtype = {k: config[k] for k in ("dtype",) if k in config}
        return super().from_config({**deserialize(config), **dtype})

    def _check_shapes(self, losses, gramian):
        tasks = self.num_tasks
        if tuple(losses.shape) != (tasks,):
            raise ValueError(
                f"Expected `losses` of shape ({tasks},), one loss per task. "
                f"Received: losses.shape={tuple(losses.shape)}"
            )
        if not self.needs_gradients:
            return
        if gramian is None or tuple(gramian.shape) != (tasks, tasks):
            received = None if gramian is None else tuple(gramian.shape)
            raise ValueError(
                f"Expected `gramian` of shape ({tasks}, {tasks}), the inner "
                "products of the task gradients. "
                f"Received: gramian.shape={received}"
            )


class GradientWeighting(Weighting):
    """Base class of the methods that look at the gradients of the tasks.

    A gradient-balancing method is a class with
    `compute_weights(losses, gramian)`.

    Args:
        gradients: `"parameters"`, gradients with respect to the shared
            variables (`T` backward passes through the trunk), or `"features"`,
            with respect to the tensors at which the trunk ends (one backward
            pass through the trunk, whatever `T` is; Sener and Koltun 2018,
            section 3.3).
        shared: `"auto"`, all shared variables; `"last"`, those of the last
            shared layer; or a list of layers or names of layers of the trunk
            on whose variables the gradients are compared. The weights act on
            the whole trunk all the same.
        update_every: Number of steps for which weights are used before they
            are computed anew.
        gramian_batch: Fraction of the batch, its first examples, from which the
            Gramian is computed; the update is that of the whole batch. With
            `"parameters"` it costs one more forward pass of that part, and its
            `T` backward passes instead of the batch's. The Gramian of a part of
            `b` examples estimates that of all data with a variance of about
            1 / b, and its diagonal is too large by the variance of the
            gradients, a bias of about 1 / b as well: conflicts look weaker than
            they are. A loss that is no mean over examples has another bias. The
            order of the examples must be random. Each replica of a TensorFlow
            strategy takes the first examples of its part of the batch.
        weigh_heads: Whether the weights act on the parameters of the tasks'
            heads, too.
        max_norm: Largest norm of the direction on the shared variables, or
            `None`.
    """

    needs_gradients = True
    cost = "T backward passes"
    # Whether the direction is the sum of the rows times the weights. If not,
    # the method overrides `combine`.
    is_linear = True

    def __init__(
        self,
        gradients="parameters",
        shared="auto",
        update_every=1,
        gramian_batch=1.0,
        weigh_heads=False,
        max_norm=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if self.scale_invariant:
            raise ValueError(
                "`scale_invariant` is for loss balancing. For gradients of log "
                'L, chain: weighting=["scale_invariant", ...]. Received: '
                f"scale_invariant=True for {type(self).__name__}"
            )
        if gradients not in ("parameters", "features"):
            raise ValueError(
                'Expected `gradients` to be "parameters" or "features". '
                f"Received: gradients={gradients!r}"
            )
        if shared not in ("auto", "last"):
            if isinstance(shared, (str, keras.layers.Layer)):
                shared = [shared]
            shared = [getattr(layer, "name", layer) for layer in shared]
        if shared != "auto" and gradients == "features":
            raise ValueError(
                "`shared` names the layers whose variables are compared, "
                'which gradients="features" does not do. Received: '
                f"shared={shared}"
            )
        if not 0 < gramian_batch <= 1:
            raise ValueError(
                "Expected `gramian_batch`, a fraction of the batch, to be "
                f"in (0, 1]. Received: gramian_batch={gramian_batch}"
            )
        if not self.is_linear and (
            shared != "auto"
            or update_every != 1
            or gramian_batch != 1
            or max_norm is not None
        ):
            raise ValueError(
                f"{type(self).__name__} combines the gradients of all shared "
                "variables in each step, and the norm of what it makes is not "
                "known before: it takes no `shared`, `update_every`, "
                f"`gramian_batch` and `max_norm`. Received: shared={shared}, "
                f"update_every={update_every}, gramian_batch={gramian_batch}, "
                f"max_norm={max_norm}"
            )
        if not isinstance(update_every, int) or update_every < 1:
            raise ValueError(
                "Expected `update_every` to be a positive integer. "
                f"Received: update_every={update_every}"
            )
        if max_norm is not None and not 0 < max_norm < math.inf:
            raise ValueError(
                "Expected `max_norm` to be positive and finite or None. "
                f"Received: max_norm={max_norm}"
            )
        self.gradients = gradients
        self.shared = shared
        self.update_every = update_every
        self.gramian_batch = gramian_batch
        self.weigh_heads = weigh_heads
        self.max_norm = max_norm

    def build(self, losses_shape, gramian_shape=None):
        super().build(losses_shape, gramian_shape)
        self.steps = self.add_state(dtype="int32", name="steps")

    def is_due(self):
        """Whether the next call computes new weights, a boolean tensor."""
        return ops.equal(ops.convert_to_tensor(self.steps), 0)

    def weigh(self, losses, gramian):
        due, old = self.is_due(), ops.copy(self.task_weights)
        self.steps.assign((self.steps + 1) % self.update_every)
        if self.update_every == 1:
            return self.compute_weights(losses, gramian)
        weights = []

        def step():
            weights.append(self.compute_weights(losses, gramian))
            return due

        # In between, the Gramian is a stand-in.
        self._undo_unless(step)
        return ops.where(due, weights[0], old)

    def compute_weights(self, losses, gramian):
        """Computes the weights, shape `(T,)`, of finite arguments."""
        raise NotImplementedError

    def head_weights(self):
        if self.weigh_heads:
            return super().head_weights()
        return ops.ones((self.num_tasks,))

    def direction_scale(self, weights, gramian):
        """Factor, at most 1, that brings the direction to `max_norm`."""
        if self.max_norm is None:
            return ops.ones(())
        # Two square roots: the squared norm of a sum of large gradients leaves
        # the range of float32 before the norm does.
        scale = ops.maximum(ops.max(ops.abs(gramian)), TINY)
        squared = ops.sum(weights * ops.matmul(gramian / scale, weights))
        norm = ops.sqrt(ops.maximum(squared, 0.0)) * ops.sqrt(scale)
        return self.scale_of_norm(norm)

    def scale_of_norm(self, norm):
        """Factor, at most 1, that brings a direction to `max_norm`."""
        return self.max_norm / ops.maximum(norm, self.max_norm)

    def combine(self, matrix, weights):
        """Combines the rows of a part of the Jacobian.

        Args:
            matrix: Float tensor of shape `(T, N)`, the gradients with respect
                to one tensor, flattened.
            weights: Float tensor of shape `(T,)`.

        Returns:
            Float32 tensor of shape `(N,)`.
        """
        return ops.matmul(weights, matrix)

    def aggregate(self, jacobian, losses=None):
        """Combines task gradients into the direction on the shared variables.

        Args:
            jacobian: Float tensor of shape `(T, P)`, one gradient per task.
            losses: Float tensor of shape `(T,)`; ones by default.

        Returns:
            Float32 tensor of shape `(P,)`.
        """
        jacobian = ops.convert_to_tensor(jacobian, "float32")
        if losses is None:
            losses = ops.ones((jacobian.shape[0],))
        gramian = ops.matmul(jacobian, ops.transpose(jacobian))
        weights = self(losses, gramian)
        scale = self.direction_scale(weights, gramian)
        return self.combine(jacobian, scale * weights)
