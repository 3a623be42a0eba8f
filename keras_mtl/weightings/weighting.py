"""The base class of all weightings."""

import inspect
import warnings
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.numerics import inverse
from keras_mtl.backend.snapshot import Snapshot
from keras_mtl.weightings.outliers import within_reach

LAYER_ARGUMENTS = inspect.signature(keras.layers.Layer.__init__).parameters

# The number of a task's losses from which `floor` knows its scale.
FIRST_LOSSES = 100.0


class Weighting(keras.layers.Layer):
    """Base class of the methods that give one weight per task.

    A weighting is called once per training step on what is known of the tasks,
    and knows nothing of the model. A loss-balancing method is a class with
    `compute_weights(losses)`; everything it must remember is made with
    `add_weight` in `build_state`. Where a loss, a result or what the method
    would remember is not finite, the last finite weights are returned and no
    state changes.

    Args:
        scale_invariant: Whether the weights are those of the logarithms of the
            losses: the objective is Σ λ log L, with λ what the method gives, so
            that the weights are λ / L and the scale of a loss does not matter
            (Dai et al. 2023, section 3.1). For loss balancing; needs positive
            losses.
        floor: For methods that follow the logarithms of losses, or divide by
            them: each loss is seen as L + floor L̄₁, with L̄₁ the mean of the
            task's first 100 losses. The scale of a loss still does not matter,
            and a loss that comes close to 0 makes its weight at most 1 / floor
            times what it was at the beginning. The papers have no floor, that
            is 0. See "Weights that run away" in docs/training.md.
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

    # Whether the method is called with the Gramian of the task gradients.
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
    # Whether the model calls `before_step`, with losses on validation data.
    needs_validation = False
    # How many variables, at the end, files of older versions do not have.
    num_newer_variables = 0
    # Whether the weights are those of log L, whatever `scale_invariant` is.
    balances_logarithms = False
    # Whether they are about 1 / L, or come to that: `floor` bounds them.
    divides_by_losses = False
    # What files that lack an argument mean. It is not saved with that value:
    # equal configurations stay equal, by which a benchmark knows its runs.
    implied_arguments: dict[str, Any] = {"floor": 0.0}

    def __init__(
        self,
        scale_invariant: bool = False,
        floor: float = 0.0,
        **kwargs: Any,
    ) -> None:
        # The weights decide the balance of gradients of all magnitudes:
        # float32 also where the network computes in float16.
        kwargs.setdefault("dtype", "float32")
        names, of_layers = self._argument_names(), LAYER_ARGUMENTS
        checks.known_arguments(type(self).__name__, kwargs, names, of_layers)
        super().__init__(**kwargs)
        self.scale_invariant = checks.boolean(
            "scale_invariant", scale_invariant
        )
        self.floor = checks.non_negative("floor", floor)
        # Gradient balancing refuses `scale_invariant`, and may have a property
        # in place of this attribute.
        if scale_invariant and not self.needs_gradients:
            self.needs_positive_losses = True

    def name_tasks(self, tasks: Sequence[str]) -> None:
        """Tells the names of the tasks, in their order, before `build`.

        Args:
            tasks: List of the names.
        """

    def build(
        self, losses_shape: tuple, gramian_shape: tuple | None = None
    ) -> None:
        if len(losses_shape) != 1 or losses_shape[0] is None:
            raise ValueError(
                "Expected `losses` of shape (T,), one loss per task. "
                f"Received: losses.shape={tuple(losses_shape)}"
            )
        self.num_tasks = losses_shape[0]
        self.task_weights = self.add_state((self.num_tasks,), "ones", "weights")
        if self.needs_learning_rate:
            # A weighting that is called without a model learns at this rate.
            default = keras.initializers.Constant(1e-3)
            self.model_learning_rate = self.add_state(
                (), default, "model_learning_rate"
            )
        if self.floor:
            self._check_takes_floor()
            shape = (self.num_tasks,)
            self.first_mean = self.add_state(shape, name="first_mean")
            self.first_count = self.add_state(shape, name="first_count")
        self.build_state(self.num_tasks)

    @property
    def follows_logarithms(self) -> bool:
        """Whether a loss close to 0 makes its task's weight large."""
        divides = self.balances_logarithms or self.divides_by_losses
        return divides or bool(self.scale_invariant)

    def _check_takes_floor(self):
        if not self.follows_logarithms:
            raise ValueError(
                "Expected `floor` to be 0, since the weights of "
                f"{type(self).__name__} do not follow the logarithms of the "
                f"losses. Received: floor={self.floor}"
            )

    def _above_floor(self, losses):
        """Returns what the method sees of losses."""
        if not self.floor:
            return losses
        floors = self.floor * ops.convert_to_tensor(self.first_mean)
        return ops.where(losses > TINY, losses + floors, losses)

    def _count_first_losses(self, losses):
        """Updates the means of the first losses, which make the floor."""
        if not self.floor:
            return
        mean = ops.convert_to_tensor(self.first_mean)
        count = ops.convert_to_tensor(self.first_count)
        counted = ops.logical_and(losses > TINY, count < FIRST_LOSSES)
        count = count + ops.cast(counted, "float32")
        change = within_reach(losses, mean) - mean
        change = ops.where(counted, change, 0.0) / ops.maximum(count, 1.0)
        self.first_mean.assign(mean + change)
        self.first_count.assign(count)

    def build_state(self, num_tasks: int) -> None:
        """Makes the variables of the method, for `num_tasks` tasks."""

    def add_state(
        self,
        shape: tuple = (),
        initializer: Any = "zeros",
        name: str | None = None,
        **kwargs: Any,
    ) -> keras.Variable:
        """Adds a variable that is saved, restored and not trained."""
        return self.add_weight(
            shape=shape,
            initializer=initializer,
            trainable=False,
            name=name,
            **kwargs,
        )

    @property
    def learning_rate_variables(self) -> list:
        """The variables to which the model writes its learning rate."""
        return [self.model_learning_rate] if self.needs_learning_rate else []

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        names = ("losses", "gramian")
        args = tuple(map(_as_tensor, names, args)) + args[len(names) :]
        for name in set(names) & set(kwargs):
            kwargs[name] = _as_tensor(name, kwargs[name])
        return super().__call__(*args, **kwargs)

    def call(self, losses: Tensor, gramian: Tensor = None) -> Tensor:
        self._check_shapes(losses, gramian)
        valid = ops.all(ops.isfinite(losses))
        if self.needs_gradients:
            valid = ops.logical_and(valid, ops.all(ops.isfinite(gramian)))
            gramian = ops.where(valid, gramian, ops.eye(self.num_tasks))
        losses = ops.where(valid, losses, ops.ones_like(losses))

        def step():
            self._count_first_losses(losses)
            weights = self._weigh(self._above_floor(losses), gramian)
            self.task_weights.assign(weights)
            return ops.logical_and(valid, ops.all(ops.isfinite(weights)))

        self._undo_unless(step)
        # A copy, because the next call changes the variable.
        return ops.stop_gradient(ops.copy(self.task_weights))

    def _undo_unless(self, step: Callable[[], Tensor]) -> None:
        """Runs `step`; no variable changes where it fails.

        It fails where it returns False, or leaves a variable that is not
        finite: that would stay so, and disable the method for ever.
        """
        unguarded = {id(v) for v in self._unguarded_variables()}
        guarded = [v for v in self.variables if id(v) not in unguarded]
        before = Snapshot(guarded)
        valid = ops.logical_and(step(), _are_finite(guarded))
        before.restore(where=ops.logical_not(valid))

    def _unguarded_variables(self):
        """Lists large variables that the method itself writes only when valid.

        All others are copied in each step.
        """
        return []

    def untracked_variables(self) -> list:
        """Lists state in variables that are not Keras's, but TensorFlow's."""
        return []

    def _weigh(self, losses, gramian):
        """Calls `compute_weights` with what it needs."""
        weights = self.compute_weights(losses)
        if self.scale_invariant and not self.balances_logarithms:
            weights = weights * inverse(losses)
        if self.needs_positive_losses:
            return ops.where(losses > TINY, weights, ops.zeros_like(weights))
        return weights

    def compute_weights(self, losses: Tensor) -> Tensor:
        """Computes the weights, shape `(T,)`, of finite `losses`."""
        raise NotImplementedError

    def head_weights(self) -> Tensor:
        """Weights of the tasks' own parameters after a call, shape `(T,)`."""
        return ops.convert_to_tensor(self.task_weights)

    def before_step(
        self, slopes: Callable[..., Tensor], learning_rate: Tensor
    ) -> None:
        """Tells the method what its weights do to losses on validation data.

        The model calls it before each step if `needs_validation`.

        Args:
            slopes: Function of the weights of a step of plain gradient descent,
                shape `(T,)`, of a list of objectives, and of the step's
                learning rate. An objective is a list of `T` weights of the
                losses on validation data, `None` for 0. It returns a tensor of
                shape `(objectives, T)`, the inner products of the gradients of
                the objectives after that step with those of the task losses on
                training data before it.
            learning_rate: Scalar, the learning rate of the model.
        """
        are_valid = [ops.convert_to_tensor(True)]

        def finite_slopes(*args):
            found = slopes(*args)
            finite = ops.isfinite(found)
            are_valid.append(ops.all(finite))
            return ops.where(finite, found, ops.zeros_like(found))

        def step():
            self.update_before_step(finite_slopes, learning_rate)
            return ops.all(ops.stack(are_valid))

        self._undo_unless(step)

    def update_before_step(
        self, slopes: Callable[..., Tensor], learning_rate: Tensor
    ) -> None:
        """Updates the state of the method; see `before_step`."""

    def after_step(self, losses: Tensor) -> None:
        """Passes the losses after a step, on its batch, to the method.

        The model calls it after each update if `needs_losses_after`.

        Args:
            losses: Float tensor of shape `(T,)`, the losses on the batch of the
                step, with the new parameters. Where one is not finite, nothing
                changes.
        """
        valid = ops.all(ops.isfinite(losses))
        losses = ops.where(valid, losses, ops.ones_like(losses))

        def step():
            self.update_after_step(self._above_floor(losses))
            return valid

        self._undo_unless(step)

    def update_after_step(self, losses: Tensor) -> None:
        """Updates the state of the method, from finite losses."""

    def on_epoch_begin(self) -> None:
        """Called before the first step of each epoch, outside of the step."""

    def on_epoch_end(self) -> None:
        """Called after the last step of each epoch, outside of the step."""

    def compute_output_spec(
        self, losses: keras.KerasTensor, gramian: Any = None
    ) -> keras.KerasTensor:
        return keras.KerasTensor(losses.shape, dtype="float32")

    def _own_state(self):
        """All variables but those of weightings inside of this one.

        Unlike other layers', they include the seeds of random numbers.
        """
        others = {id(v) for layer in self._layers for v in layer.variables}
        return [v for v in self.variables if id(v) not in others]

    def _fewest_variables(self):
        return len(self._own_state()) - self.num_newer_variables

    def complete_older_state(self) -> None:
        """Sets the newer variables, where a file had all others."""

    def save_own_variables(self, store: Any) -> None:
        for i, variable in enumerate(self._own_state()):
            store[str(i)] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store: Any) -> None:
        variables = self._own_state()
        keys = sorted(store.keys(), key=int)
        shapes = [tuple(store[key].shape) for key in keys]
        expected = [tuple(v.shape) for v in variables]
        if not all(np.all(np.isfinite(store[key])) for key in keys):
            # No step would change it, and none would have a finite result.
            warnings.warn(
                f"Expected the state of {type(self).__name__} to be finite. "
                "Received: a file in which it is not; the state is left as "
                "it is, and the weighting begins anew.",
                stacklevel=2,
            )
        elif shapes == expected[: max(len(shapes), self._fewest_variables())]:
            for key, variable in zip(keys, variables):
                variable.assign(store[key])
            if shapes != expected:
                self.complete_older_state()
        elif shapes:
            # A warning is enough, as for an optimizer: the file is loaded for
            # the network's weights.
            warnings.warn(
                f"Expected the state of {type(self).__name__}, variables of "
                f"shapes {expected}. Received: variables of shapes {shapes}. "
                "The file was saved with another weighting or other tasks; the "
                "state is left as it is.",
                stacklevel=2,
            )

    def get_config(self) -> dict:
        # As in scikit-learn, each argument of the constructor is an attribute.
        names = sorted(self._argument_names())
        arguments = {name: self._argument(name) for name in names}
        for name, value in self.implied_arguments.items():
            if arguments.get(name) == value:
                del arguments[name]
        serialize = keras.saving.serialize_keras_object
        return {**super().get_config(), **serialize(arguments)}

    @classmethod
    def _argument_names(cls) -> set[str]:
        """Names the arguments of the constructor but those of all layers."""
        return {
            name
            for base in cls.__mro__
            if issubclass(base, Weighting)
            for name in inspect.signature(base.__init__).parameters
        } - {"self", "args", "kwargs"}

    def _argument(self, name):
        """Returns the value of an argument of the constructor."""
        return getattr(self, name)

    @classmethod
    def from_config(cls, config: dict) -> "Weighting":
        deserialize = keras.saving.deserialize_keras_object
        dtype = {k: config[k] for k in ("dtype",) if k in config}
        config = {**cls.implied_arguments, **deserialize(config), **dtype}
        return super().from_config(config)

    def _check_shapes(self, losses, gramian):
        tasks = self.num_tasks
        if tuple(losses.shape) != (tasks,):
            raise ValueError(
                f"Expected `losses` of shape ({tasks},), one loss per task. "
                f"Received: losses.shape={tuple(losses.shape)}"
            )
        if not self.needs_gradients:
            return
        received = None if gramian is None else tuple(gramian.shape)
        expected = self._gramian_shapes()
        if received not in expected:
            raise ValueError(
                f"Expected `gramian` of shape {expected[0]}, the inner "
                "products of the task gradients. "
                f"Received: gramian.shape={received}"
            )

    def _gramian_shapes(self):
        """Lists the shapes that the Gramian may have."""
        return [(self.num_tasks, self.num_tasks)]


def _as_tensor(name, value):
    """Checks an argument of a call; whole numbers become floats.

    Raises:
        ValueError: If it is no tensor and no array.
    """
    if name == "gramian" and value is None:
        return value
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        dtype = keras.backend.standardize_dtype(value.dtype)
        is_float = "float" in dtype
        return value if is_float else ops.cast(value, "float32")
    what = {
        "losses": "a tensor or array of shape (T,), one loss per task",
        "gramian": "a tensor or array of shape (T, T)",
    }
    raise ValueError(
        f"Expected `{name}` to be {what[name]}. {_advice(name, value)}"
        f"Received: {name}={value!r} of type {type(value)}"
    )


def _advice(name, value):
    """Says what to type for values that only have to be put together."""
    if isinstance(value, dict) and name == "losses":
        return f"Stack them: `keras.ops.stack(list({name}.values()))`. "
    if not isinstance(value, (list, tuple)) or not value:
        return ""
    if any(hasattr(x, "shape") for x in value):
        return f"Stack them: `keras.ops.stack({name})`. "
    return f"Make it one: `keras.ops.convert_to_tensor({name})`. "


def _are_finite(variables):
    """Returns whether all numbers of some variables are finite."""
    numbers = [
        ops.reshape(ops.convert_to_tensor(v), (-1,))
        for v in variables
        if "float" in v.dtype
    ]
    if not numbers:
        return ops.convert_to_tensor(True)
    return ops.all(ops.isfinite(ops.concatenate(numbers)))
