"""What training needs of a weighting, a function for each check."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from collections.abc import Collection
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_mtl.backend.snapshot import Snapshot
from keras_mtl.model import MultiTaskModel
from keras_mtl.weightings import Chain
from keras_mtl.weightings import Weighting
from keras_mtl.weightings import get

LOSSES = np.array([0.3, 2.0, 1.1, 5.0], "float32")

# Compiling takes most of the time of a check.
_compiled = {}


def check_weighting(
    weighting: Any,
    checks: Collection[str] | None = None,
    skip: Collection[str] = (),
) -> None:
    """Checks that a weighting does what training needs of it.

    A weighting is made anew for each check. The checks, in their order:

    - `serialization`: its config makes an equal weighting.
    - `weights`: finite float32 weights of shape `(T,)`, call after call.
    - `number_of_tasks`: the same for 1, 3 and 64 tasks.
    - `compiled`: compiled, it gives the weights of eager calls.
    - `extreme_losses`: finite weights for losses of 0, 1e-16 and 1e16, and for
      negative ones.
    - `degenerate_gramians`: finite weights for zero, singular, rank-one, huge
      and tiny Gramians.
    - `non_finite`: losses or a Gramian with NaN leave state and weights as they
      were.
    - `training`: a model trains with it for one epoch, to finite variables.
    - `saving`: that model is saved, loaded, and goes on as if it had not been.

    Args:
        weighting: What `keras_mtl.weightings.get` takes (an instance is copied
            through its config), or a function that returns a new weighting.
        checks: Names of the checks to run. By default all.
        skip: Names of checks to leave out. A method that draws random numbers
            may draw others when it is compiled: `skip=["compiled"]`.

    Raises:
        AssertionError: If a check fails; it says which one and why.
        ValueError: If a name is not that of a check.

    Example:

    >>> class Saturating(keras_mtl.weightings.Weighting):
    ...     def compute_weights(self, losses):
    ...         return 1 / (1 + ops.abs(losses))
    >>> keras_mtl.testing.check_weighting(Saturating)
    """
    unknown = {*(checks or ()), *skip} - {*CHECKS}
    if unknown:
        raise ValueError(
            f"Expected checks to be among {list(CHECKS)}. "
            f"Received: {sorted(unknown)}"
        )
    make = factory_of(weighting)
    for name, check in CHECKS.items():
        if name in skip or (checks is not None and name not in checks):
            continue
        try:
            check(make)
        except Exception as error:
            raise AssertionError(
                f"The check `{name}` failed for {make()!r}: {error}"
            ) from error


def factory_of(weighting: Any) -> Callable[[], Weighting]:
    """Returns a function that makes a new weighting.

    Args:
        weighting: As of `check_weighting`.
    """
    is_class = isinstance(weighting, type)
    if callable(weighting) and not isinstance(weighting, (type, Weighting)):
        return weighting
    if is_class:
        return lambda: get(weighting)
    config = get(weighting).get_config()
    cls = type(get(weighting))
    return lambda: cls.from_config(config)


def task_gradients(num_tasks: int = 4, seed: int = 0) -> np.ndarray:
    """Returns random gradients of the tasks, of shape `(T, 50)`."""
    return np.random.default_rng(seed).normal(size=(num_tasks, 50))


def arguments_of(
    weighting: Weighting,
    losses: np.ndarray = LOSSES,
    jacobian: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Returns what a weighting is called with.

    Args:
        weighting: The weighting.
        losses: Array of shape `(T,)`.
        jacobian: Array of shape `(T, P)`, by default `task_gradients`.

    Returns:
        List of the losses and, for gradient balancing, the Gramian.
    """
    losses = np.asarray(losses, "float32")
    if not weighting.needs_gradients:
        return [losses]
    if jacobian is None:
        jacobian = task_gradients(len(losses))
    return [losses, (jacobian @ jacobian.T).astype("float32")]


def compiled_call(weighting: Weighting) -> Callable[..., np.ndarray]:
    """Returns a function like `weighting` that is compiled, and gives arrays.

    On PyTorch, where Keras compiles no step by default, it is not compiled.
    Weightings of one configuration share what was compiled.

    Args:
        weighting: The weighting, whose state follows the calls.

    Returns:
        Function of NumPy arrays that returns an array of shape `(T,)`.
    """
    steps = {"tensorflow": _tensorflow_step, "jax": _jax_step}
    make_step = steps.get(keras.backend.backend())
    if make_step is None:
        return lambda *args: ops.convert_to_numpy(weighting(*args))

    def call(*args):
        if not weighting.built:
            weighting.build(args[0].shape)
        return np.asarray(make_step(weighting)(*args))

    return call


def _shared(weighting, make):
    """Returns what `make` makes, once for weightings of one configuration."""
    # TF-Agents has variables of its own, which belong to one weighting.
    key = weighting
    if not weighting.untracked_variables():
        config = keras.saving.serialize_keras_object(weighting)
        config["config"].pop("name")
        config = json.dumps(config, sort_keys=True)
        key = type(weighting), config, weighting.num_tasks
    if key not in _compiled:
        _compiled[key] = make()
    return _compiled[key]


def _jax_step(weighting):
    import jax

    step = _shared(
        weighting,
        lambda: jax.jit(
            lambda state, *args: weighting.stateless_call([], state, *args)
        ),
    )

    def call(*args):
        variables = weighting.variables
        weights, state = step([v.value for v in variables], *args)
        Snapshot(variables, state).restore()
        return weights

    return call


def _tensorflow_step(weighting):
    import tensorflow as tf

    step, owner = _shared(
        weighting,
        lambda: (
            tf.function(weighting, jit_compile=True, autograph=False),
            weighting,
        ),
    )

    def call(*args):
        if owner is weighting:
            return step(*map(tf.constant, args))
        # What is compiled reads and writes the variables of its owner.
        before = Snapshot(owner.variables)
        Snapshot(owner.variables, weighting.variables).restore()
        weights = step(*map(tf.constant, args))
        Snapshot(weighting.variables, owner.variables).restore()
        before.restore()
        return weights

    return call


def _check_serialization(make):
    weighting = make()
    cls = type(weighting)
    again = cls.from_config(weighting.get_config())
    _expect(
        again.get_config() == weighting.get_config(),
        "`from_config(get_config())` has another config. "
        f"Received: {again.get_config()} for {weighting.get_config()}",
    )


def _check_weights(make):
    weighting = make()
    call = _caller(weighting)
    for _ in range(3):
        _expect_weights(call(*arguments_of(weighting)), 4, "random arguments")


def _check_number_of_tasks(make):
    for num_tasks in (1, 3, 64):
        weighting = make()
        losses = np.linspace(0.5, 2.0, num_tasks)
        weights = _caller(weighting)(*arguments_of(weighting, losses))
        _expect_weights(weights, num_tasks, f"{num_tasks} tasks")


def _check_compiled(make):
    eager, compiled = make(), make()
    for weighting in (eager, compiled):
        weighting.build((4,))
    for variable, value in zip(compiled.variables, eager.variables):
        variable.assign(ops.convert_to_numpy(value))
    step = compiled_call(compiled)
    rng = np.random.default_rng(0)
    for i in range(3):
        losses, jacobian = rng.uniform(0.1, 2.0, 4), task_gradients(seed=i)
        args = arguments_of(eager, losses, jacobian)
        expected = ops.convert_to_numpy(eager(*args))
        _expect_close(step(*args), expected, "compiled, it gives other weights")


def _check_extreme_losses(make):
    weighting = make()
    call = _caller(weighting)
    for scale in (0.0, 1e-16, 1e16, -1.0):
        for losses in (LOSSES * scale, LOSSES * [scale, 1.0, 1.0, 1.0]):
            weights = call(*arguments_of(weighting, losses))
            _expect_weights(weights, 4, f"losses={losses.tolist()}")
    weights = call(*arguments_of(weighting, -LOSSES))
    if weighting.needs_positive_losses and not weighting.needs_gradients:
        _expect(
            not np.any(weights),
            "`needs_positive_losses` says that negative losses get no weight. "
            f"Received: {weights}",
        )


DEGENERATE = {
    "zero": lambda rows: 0.0 * rows,
    "with a zero row": lambda rows: rows * np.array([[0], [1], [1], [1]]),
    "of rank one": lambda rows: np.ones((4, 1)) * rows[:1],
    "singular": lambda rows: rows[[0, 0, 1, 2]],
    "of opposite gradients": lambda rows: np.stack(
        [rows[0], -rows[0], rows[1], -rows[1]]
    ),
    "tiny": lambda rows: 1e-16 * rows,
    "huge": lambda rows: 1e16 * rows,
}


def _check_degenerate_gramians(make):
    if not make().needs_gradients:
        return
    weighting = make()
    call = _caller(weighting)
    for kind, change in DEGENERATE.items():
        jacobian = change(task_gradients())
        args = arguments_of(weighting, jacobian=jacobian)
        weights = call(*args)
        _expect_weights(weights, 4, f"a Gramian that is {kind}")
        scale = weighting.measurement.direction_scale(
            *map(ops.convert_to_tensor, (weights, args[1]))
        )
        direction = ops.convert_to_numpy(scale) * weights @ jacobian
        _expect(
            np.all(np.isfinite(direction)),
            f"the direction is not finite for a Gramian that is {kind}",
        )


def _check_non_finite(make):
    weighting = make()
    call, args = _caller(weighting), arguments_of(make())
    before = call(*args)
    kept = _state(weighting)
    for value in (np.nan, np.inf):
        for position, name in enumerate(["losses", "gramian"][: len(args)]):
            bad = [array.copy() for array in args]
            bad[position][0] = value
            weights = call(*bad)
            _expect(
                np.array_equal(weights, before),
                f"{value} in `{name}` changes the weights",
            )
            same = all(map(np.array_equal, _state(weighting), kept))
            _expect(same, f"{value} in `{name}` changes the state")
    _expect_weights(call(*args), 4, "finite arguments after others")


def _check_training(make):
    model, train = _small_training(make)
    for values in train(model):
        _expect(np.all(np.isfinite(values)), "`fit` gives weights of NaN")


def _check_saving(make):
    model, train = _small_training(make)
    train(model)
    with tempfile.TemporaryDirectory() as folder, _known(model.weighting):
        path = os.path.join(folder, "model.keras")
        model.save(path)
        loaded = keras.saving.load_model(path)
    same = all(
        map(np.array_equal, _state(loaded.weighting), _state(model.weighting))
    )
    _expect(same, "the state of a loaded weighting is not that which was saved")
    for new, old in zip(train(loaded), train(model)):
        _expect_close(new, old, "a loaded model goes on otherwise", atol=1e-6)


def _small_training(make):
    """Returns a model, and what trains it and returns its variables."""
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    y = {name: x[:, :1] * (i + 1) for i, name in enumerate("abc")}

    def train(model):
        model.fit(x, y, epochs=1, shuffle=False, verbose=0)
        return model.get_weights()

    inputs = keras.Input((3,))
    features = keras.layers.Dense(4, activation="relu")(inputs)
    outputs = {name: keras.layers.Dense(1)(features) for name in "abc"}
    model = MultiTaskModel(inputs, outputs)
    model.compile("sgd", loss="mse", weighting=make())
    return model, train


@contextlib.contextmanager
def _known(weighting):
    """Lets files name a class that is not registered."""
    parts = weighting.weightings if isinstance(weighting, Chain) else []
    classes = [type(one) for one in [weighting, *parts]]
    with keras.saving.custom_object_scope({c.__name__: c for c in classes}):
        yield


def _caller(weighting):
    if keras.backend.backend() == "jax":
        # JAX compiles the loops of an eager call anew each time.
        return compiled_call(weighting)
    return lambda *args: ops.convert_to_numpy(weighting(*args))


def _state(weighting):
    return [ops.convert_to_numpy(v) for v in weighting.variables]


def _expect(holds, otherwise):
    if not holds:
        raise AssertionError(otherwise)


def _expect_close(values, expected, otherwise, rtol=1e-4, atol=0.0):
    _expect(
        np.allclose(values, expected, rtol=rtol, atol=atol),
        f"{otherwise}. Received: {values} for {expected}",
    )


def _expect_weights(weights, num_tasks, arguments):
    _expect(
        weights.shape == (num_tasks,) and weights.dtype == np.float32,
        f"Expected float32 weights of shape ({num_tasks},) for {arguments}. "
        f"Received: {weights.dtype} of shape {weights.shape}",
    )
    _expect(
        np.all(np.isfinite(weights)),
        f"Expected finite weights for {arguments}. Received: {weights}",
    )


CHECKS = {
    "serialization": _check_serialization,
    "weights": _check_weights,
    "number_of_tasks": _check_number_of_tasks,
    "compiled": _check_compiled,
    "extreme_losses": _check_extreme_losses,
    "degenerate_gramians": _check_degenerate_gramians,
    "non_finite": _check_non_finite,
    "training": _check_training,
    "saving": _check_saving,
}
