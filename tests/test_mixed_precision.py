import functools

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl import weightings
from tests import utils

pytestmark = pytest.mark.quick_on_torch(1)

METHODS = ["equal", "igb_v1", "uncertainty", "sum", "nash_mtl"]


@pytest.fixture(params=["mixed_bfloat16", "mixed_float16"])
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def igb_v2(agent):
    # Its agent gives the weights, and learns, from the second epoch on.
    return utils.quick_igb_v2(
        agent=agent, use_epoch=2, update_every=1, buffer_size=2, seed=0
    )


def all_cases():
    cases = {}
    for name in weightings.names():
        cls = type(weightings.get(name))
        cases[name] = cls
        # SAMO moves parameters, in each step.
        if cls.needs_gradients and name != "samo":
            # Such that the skipped step is one that computes weights.
            options = {"update_every": 2} if cls.is_linear else {}
            cases[f"{name}-features"] = functools.partial(
                cls, gradients="features", **options
            )
    return {
        **cases,
        "igb_v2": lambda: igb_v2("keras"),
        "igb_v2-chain": lambda: [igb_v2("keras"), "nash_mtl"],
        "famo-chain": lambda: ["famo", weightings.MoCo(update_every=2)],
    }


CASES = all_cases()
COMPILED = ["uncertainty", "famo", "igb_v2-chain", "nash_mtl-features"]
# One of each kind of state; `make test-slow` has the others.
KINDS = [
    *["uncertainty", "random", "dwa", "famo", "db_mtl", "igb_v2"],
    *["nash_mtl-features", "moco", "pcgrad-features", "graddrop"],
    *["famo-chain", "igb_v2-chain"],
]
MODES = [
    pytest.param("eager", case, marks=[] if case in KINDS else pytest.mark.slow)
    for case in CASES
]
if "compiled" in utils.MODES:
    MODES = [("compiled", case) for case in COMPILED] + MODES


def build(weighting, optimizer="sgd", cls=keras_mtl.MultiTaskModel, **settings):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    features = keras.layers.Dense(8, activation="relu")(inputs)
    outputs = {
        name: keras.layers.Dense(1, dtype="float32")(features) for name in "ab"
    }
    model = cls(inputs, outputs)
    options = {} if weighting is None else {"weighting": weighting}
    model.compile(optimizer, loss="mse", **options, **settings)
    return model


def data(scale=1.0):
    x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    return x, {"a": scale * x[:, :1], "b": 5.0 * x[:, 1:2]}


def values(variables):
    return [keras.ops.convert_to_numpy(v) for v in variables]


@pytest.mark.diagonal
@pytest.mark.parametrize("method", [*METHODS, "features"])
def test_trains(policy, method):
    if method == "features":
        method = keras_mtl.weightings.NashMTL(gradients="features")
    model = build(method, keras.optimizers.SGD(0.02))
    losses = model.fit(*data(), epochs=8, verbose=0).history["loss"]
    assert np.all(np.isfinite(losses)) and losses[-1] < losses[0]
    # float32, whatever the network computes in.
    assert model.weighting.task_weights.dtype == "float32"


def test_gradients_are_those_of_float32(policy):
    def trained():
        optimizer = keras.optimizers.SGD(0.1)
        if keras.config.dtype_policy().name == "mixed_float16":
            # With the scale that Keras begins with, the first step overflows.
            optimizer = keras.optimizers.LossScaleOptimizer(
                optimizer, initial_scale=64.0
            )
        model = build("nash_mtl", optimizer)
        model.fit(*data(), verbose=0, batch_size=32)
        return model

    mixed = trained()
    keras.config.set_dtype_policy("float32")
    full = trained()
    # bfloat16 has 8 bits of mantissa, and one step of 0.1 scales the error.
    for new, old in zip(mixed.get_weights(), full.get_weights()):
        np.testing.assert_allclose(new, old, atol=2e-2)
    np.testing.assert_allclose(
        values([mixed.weighting.task_weights])[0],
        values([full.weighting.task_weights])[0],
        rtol=3e-2,
    )


@pytest.mark.parametrize("method", METHODS)
def test_an_overflow_changes_nothing_but_the_scale(method):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build(method)
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        model.fit(*data(), epochs=2, verbose=0)
        weights = values(model.trainable_variables)
        state = values(model.weighting.variables)
        scale = float(model.optimizer.dynamic_scale)
        x, y = data()
        x[0, 0] = np.inf
        model.train_on_batch(x, y)
    finally:
        keras.config.set_dtype_policy(before)
    for new, old in zip(values(model.trainable_variables), weights):
        np.testing.assert_array_equal(new, old)
    for new, old in zip(values(model.weighting.variables), state):
        np.testing.assert_array_equal(new, old)
    assert float(model.optimizer.dynamic_scale) == scale / 2


@pytest.mark.diagonal
@pytest.mark.parametrize("method", ["equal", "sum"])
def test_equal_weights_train_as_plain_keras(policy, method):
    """With overflows in the first steps, and accumulated gradients."""

    def trained(weighting, cls):
        # One task has nearly all of the gradient: the sum could leave float16
        # otherwise where the gradients of the tasks do not. At three times the
        # rate, the training diverges.
        optimizer = keras.optimizers.SGD(0.03, gradient_accumulation_steps=2)
        model = build(weighting, optimizer, cls)
        history = model.fit(
            *data(1e-3), epochs=3, batch_size=8, shuffle=False, verbose=0
        )
        return model, history.history

    plain, expected = trained(None, keras.Model)
    model, history = trained(method, keras_mtl.MultiTaskModel)
    # The order of the sums differs, in 8 bits of mantissa.
    for key, value in expected.items():
        np.testing.assert_allclose(history[key], value, 1e-2)
    for v, other in zip(model.optimizer.variables, plain.optimizer.variables):
        # The path begins with the name of the `LossScaleOptimizer`.
        if "scale" in v.name or "iteration" in v.name:
            np.testing.assert_array_equal(v, other)


@pytest.mark.parametrize("gradients", ["parameters", "features"])
def test_gradients_that_overflow_leave_the_state_as_it_is(gradients):
    """Where the losses are finite, and only their gradients are not."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        nash = keras_mtl.weightings.NashMTL(gradients=gradients, update_every=3)
        optimizer = keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(0.01), initial_scale=2.0**8
        )
        model = build(nash, optimizer)
        model.fit(*data(), verbose=0)
        optimizer.dynamic_scale.assign(2.0**40)
        weights = values(model.trainable_variables)
        nash.steps.assign(0)
        state = values(nash.variables)
        loss = model.train_on_batch(*data(), return_dict=True)["loss"]
    finally:
        keras.config.set_dtype_policy(before)
    assert np.isfinite(loss)
    assert float(optimizer.dynamic_scale) == 2.0**39
    for new, old in zip(values(model.trainable_variables), weights):
        np.testing.assert_array_equal(new, old)
    for new, old in zip(values(nash.variables), state):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("mode, case", MODES)
def test_a_skipped_step_teaches_no_weighting_anything(mode, case):
    check_skipped_steps(CASES[case](), **utils.MODES[mode])


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("case", ["uncertainty", "nash_mtl-features"])
def test_a_skipped_step_in_bfloat16(case):
    """Where the user has asked for a `LossScaleOptimizer`."""
    check_skipped_steps(
        CASES[case](), "mixed_bfloat16", too_large=np.inf, **utils.EAGER
    )


def check_skipped_steps(
    weighting, policy="mixed_float16", too_large=2.0**40, **settings
):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        optimizer = keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(0.01), initial_scale=2.0**8
        )
        model = build(weighting, optimizer, **settings)
    finally:
        keras.config.set_dtype_policy(before)
    x, y = data()
    model.fit(x, y, epochs=2, verbose=0)
    variables = [
        *model.trainable_variables,
        *model.weighting.variables,
        *model.weighting.untracked_variables(),
    ]
    known = values(variables)

    def check_skips(x, scale):
        optimizer.dynamic_scale.assign(scale)
        loss = model.train_on_batch(x, y, return_dict=True)["loss"]
        assert float(optimizer.dynamic_scale) == scale / 2
        for v, new, old in zip(variables, values(variables), known):
            np.testing.assert_array_equal(new, old, v.name)
        return loss

    # The losses are finite, and only their gradients are not.
    assert np.isfinite(check_skips(x, too_large))
    infinite = x.copy()
    infinite[0, 0] = np.inf
    check_skips(infinite, 2.0**8)
    # The next step is as any other.
    model.train_on_batch(x, y)
    changed = values(variables)
    assert all(np.all(np.isfinite(value)) for value in changed)
    assert np.any(changed[0] != known[0])
