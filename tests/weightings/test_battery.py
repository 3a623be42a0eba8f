"""What every registered method must do. A new method is tested here as it is.

A method that is an exception to a test says so in `EXCEPTIONS`, with a reason.
"""

from itertools import product

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.testing import weighting_checks
from keras_mtl.weightings import Chain
from keras_mtl.weightings import NashMTL
from keras_mtl.weightings.registry import WEIGHTINGS
from tests.compiled import compiled_call
from tests.utils import further_cases

pytestmark = pytest.mark.quick_on_torch

EXCEPTIONS = {
    ("permutation", "random"): "its weights do not depend on the tasks",
    ("scale", "random"): "its weights do not depend on the tasks",
    ("permutation", "igb_v2"): "its first weights are random",
    ("scale", "igb_v2"): "its first weights are random",
    ("permutation", "pcgrad"): "each task has its own random order",
    ("permutation", "gradvac"): "each task has its own random order",
    ("permutation", "pcd"): "the first task is the main one",
    ("permutation", "gcs"): "the first task is the main one",
    ("permutation", "metabalance"): "the first task is the main one",
    ("permutation", "ldc_mtl"): "neighbours are compared",
    ("scale", "ldc_mtl"): "its weights are trained for these losses",
    ("scale", "uw_so"): "τ has the inverse units of the losses",
    ("scale", "cosmos"): "the cosine has the weight λ in their units",
    ("compiled", "pcgrad"): "compilers draw other orders",
    ("compiled", "gradvac"): "compilers draw other orders",
    ("compiled", "random"): "compilers draw other numbers",
    ("scale", "moco"): "γ is to be seen against 1 / norm²",
    ("scale", "modo"): "γ is to be seen against 1 / norm²",
    ("scale", "smooth_tchebycheff"): "μ has the units of the losses",
    ("scale", "go4align"): "β has the inverse units of the losses",
}

METHODS = {name: name for name in keras_mtl.weightings.names()}
METHODS["igb_v1 + nash_mtl"] = ["igb_v1", "nash_mtl"]
LOSSES = weighting_checks.LOSSES


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


def create(method):
    weighting = keras_mtl.weightings.get(METHODS[method])
    # A second call must not find the weights of the first one.
    return type(weighting).from_config(weighting.get_config())


def seeded(method):
    keras.utils.set_random_seed(0)
    return create(method)


random_jacobian = weighting_checks.task_gradients
arguments = weighting_checks.arguments_of


def call(weighting, *args):
    if keras.backend.backend() == "jax":
        # JAX compiles the loops of an eager call anew each time.
        return compiled_call(weighting)(*args)
    return keras.ops.convert_to_numpy(weighting(*args))


def skip_exceptions(test, method):
    reason = EXCEPTIONS.get((test, method))
    if reason:
        pytest.skip(f"{method}: {reason}")


# One of each kind, and those whose own tests run on one backend alone. To trace
# and compile the training of all methods takes minutes.
TRAINED_ON_EVERY_BACKEND = {
    *("uncertainty", "dwa", "famo", "moml"),
    *("nash_mtl", "imgrad", "pcgrad", "graddrop", "lr_annealing"),
    *("metabalance", "samo", "cr_mogm", "igb_v1 + nash_mtl"),
}


def case(method, check):
    everywhere = check == "serialization" or (
        check == "training" and method in TRAINED_ON_EVERY_BACKEND
    )
    marks = [pytest.mark.every_backend] if everywhere else []
    return pytest.param(method, check, marks=marks)


@pytest.mark.parametrize(
    "method, check",
    [case(*pair) for pair in product(METHODS, weighting_checks.CHECKS)],
)
def test_check(method, check):
    skip_exceptions(check, method)
    if (check, keras.backend.backend()) == ("compiled", "torch"):
        pytest.skip("PyTorch compiles nothing: there is nothing to compare")
    # Random numbers of the backend: those of all weightings are the same.
    weighting_checks.check_weighting(lambda: seeded(method), checks=[check])


def test_config_round_trip(method):
    weighting = create(method)
    config = keras.saving.serialize_keras_object(weighting)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(weighting)
    assert again.get_config() == weighting.get_config()


def test_permuted_tasks_have_permuted_weights(method):
    skip_exceptions("permutation", method)
    order = [2, 0, 3, 1]
    plain, permuted = create(method), create(method)
    jacobian = random_jacobian()
    for _ in range(3):
        expected = call(plain, *arguments(plain, jacobian=jacobian))
        weights = call(
            permuted, *arguments(permuted, LOSSES[order], jacobian[order])
        )
        np.testing.assert_allclose(weights, expected[order], rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-6, 1e6, *further_cases(1e-3, 1e3)])
def test_common_scale_keeps_the_balance(method, scale):
    skip_exceptions("scale", method)
    plain, scaled = create(method), create(method)
    jacobian = random_jacobian()
    expected = call(plain, *arguments(plain, jacobian=jacobian))
    weights = call(scaled, *arguments(scaled, LOSSES * scale, jacobian * scale))
    np.testing.assert_allclose(
        weights / weights.sum(), expected / expected.sum(), rtol=1e-3
    )


def test_scale_invariant_weights_are_those_of_logarithms(method):
    skip_exceptions("scale_invariant", method)
    plain = create(method)
    config = {**plain.get_config(), "scale_invariant": True}
    if plain.needs_gradients:
        with pytest.raises((TypeError, ValueError), match="scale_invariant"):
            type(plain).from_config(config)
        return
    composed = type(plain).from_config(config)
    keras.utils.set_random_seed(0)
    weights = call(composed, *arguments(composed))
    keras.utils.set_random_seed(0)
    expected = call(create(method), *arguments(plain))
    if not plain.balances_logarithms:
        expected = expected / LOSSES
    if method != "random":
        np.testing.assert_allclose(weights, expected, rtol=1e-5)
    args = arguments(composed, LOSSES * [0.0, -1.0, 1.0, 1.0])
    assert np.all(call(composed, *args)[:2] == 0.0)


def test_same_seed_same_weights(method):
    def run():
        keras.utils.set_random_seed(3)
        weighting = create(method)
        return [call(weighting, *arguments(weighting)) for _ in range(3)]

    np.testing.assert_array_equal(run(), run())


def test_between_updates_nothing_but_the_count_changes(method):
    weighting = create(method)
    if not weighting.needs_gradients or not weighting.is_linear:
        pytest.skip("computes its weights in each step")
    if isinstance(weighting, Chain):
        pytest.skip("its loss balancing goes on")
    if weighting.groups != "model":
        pytest.skip("it weighs each layer in each step")
    if weighting.perturbs:
        pytest.skip("it moves the parameters in each step")
    rarely, always = (
        keras_mtl.weightings.get(METHODS[method]).get_config()
        | {"update_every": k, "name": f"every_{k}"}
        for k in (3, 1)
    )
    keras.utils.set_random_seed(0)
    rarely = type(weighting).from_config(rarely)
    keras.utils.set_random_seed(0)
    always = type(weighting).from_config(always)
    for i in range(6):
        args = arguments(weighting, LOSSES + i, random_jacobian(seed=i))
        weights = call(rarely, *args)
        if i % 3 == 0:
            expected = call(always, *args)
        np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (4, 1)])
def test_names_the_shape_of_wrong_losses(method, shape):
    weighting = create(method)
    args = arguments(weighting)
    args[0] = np.ones(shape, "float32")
    with pytest.raises(ValueError, match="Expected `losses` of shape"):
        weighting(*args)
    args[0] = np.ones(5, "float32")
    weighting = create(method)
    weighting(*arguments(weighting))
    with pytest.raises(ValueError, match=r"Received: losses.shape=\(5,\)"):
        weighting(*args)


def test_names_the_shape_of_a_wrong_gramian(method):
    weighting = create(method)
    if not weighting.needs_gradients:
        pytest.skip("does not look at gradients")
    with pytest.raises(ValueError, match="Received: gramian.shape=None"):
        weighting(LOSSES)
    with pytest.raises(ValueError, match=r"gramian.shape=\(3, 4\)"):
        weighting(LOSSES, np.ones((3, 4), "float32"))


def test_states_its_source(method):
    cls = type(create(method))
    assert cls.__doc__
    if method not in keras_mtl.weightings.names():
        return
    facts = WEIGHTINGS.facts(method)
    assert facts["paper"]
    # A line of the list in a terminal has 80 columns.
    assert 0 < len(facts["when"]) <= 60
    if facts["year"]:
        assert "Reference:" in cls.__doc__
        assert str(facts["year"]) in cls.__doc__


# Groups of methods whose weights are the same by design.
SAME = [
    # They differ in how the gradients are computed, in the length of the
    # direction, or in what they do with single coordinates.
    # Without a model, auto_lambda and moml learn nothing of validation data.
    {"equal", "sum", "mean", "constant", "graddrop", "trimmed_mean"}
    | {"auto_lambda", "moml"},
    # The directions are the same, the lengths are not.
    {"geometric_mean", "scale_invariant"},
    # The objective is twice that of uncertainty, which Adam does not feel.
    {"imtl_l", "uncertainty"},
    # Without scores, all its preferences are equal. SAMO gets other gradients
    # in a model alone.
    {"fairgrad", "pivrg", "samo"},
    # SDMGrad is MGDA with weights of at least λ / (1 + λ) / T.
    {"mgda", "sdmgrad"},
    # Equal projections on all gradients fix the direction, not its length.
    {"config", "imtl_g"},
    # Nash-MTL's direction does not depend on the scale of a loss.
    {"igb_v1 + nash_mtl", "nash_mtl"},
]


def test_methods_are_different():
    rng = np.random.default_rng(0)
    epochs = rng.uniform(0.5, 2.0, (4, 3, 4))
    # Some of the tasks conflict, and their norms differ from step to step.
    jacobians = rng.normal(size=(4, 3, 4, 6)) * rng.uniform(1, 3, (4, 3, 4, 1))
    weights = {}
    for name in METHODS:
        weighting = create(name)
        weighting.build((4,))
        rows = []
        for losses, jacobian in zip(epochs, jacobians):
            weighting.on_epoch_begin()
            for args in zip(losses, jacobian):
                rows.append(call(weighting, *arguments(weighting, *args)))
                if weighting.needs_losses_after:
                    after = np.float32(args[0] * [0.9, 0.8, 1.0, 0.7])
                    weighting.after_step(keras.ops.convert_to_tensor(after))
            weighting.on_epoch_end()
        weights[name] = np.stack([row / row.sum() for row in rows])
    for name in METHODS:
        for other in METHODS:
            if name < other and not any({name, other} <= x for x in SAME):
                difference = np.abs(weights[name] - weights[other]).max()
                assert difference > 1e-4, (name, other)


def test_get_takes_names_in_any_spelling():
    for spelling in ("nash_mtl", "NashMTL", "NASH_mtl", "nash-mtl"):
        assert type(keras_mtl.weightings.get(spelling)) is NashMTL


def test_get_takes_instances_classes_configs_and_lists():
    instance = NashMTL(update_every=3)
    assert keras_mtl.weightings.get(instance) is instance
    assert type(keras_mtl.weightings.get(NashMTL)) is NashMTL
    config = keras.saving.serialize_keras_object(instance)
    assert keras_mtl.weightings.get(config).measurement.update_every == 3
    chain = keras_mtl.weightings.get(["igb_v1", "nash_mtl"])
    assert isinstance(chain, Chain)
    assert type(keras_mtl.weightings.get(["nash_mtl"])) is NashMTL


def test_get_names_the_nearest_methods():
    with pytest.raises(ValueError, match="Did you mean 'nash_mtl'") as error:
        keras_mtl.weightings.get("nashmlt")
    assert all(
        name in str(error.value) for name in keras_mtl.weightings.names()
    )
    with pytest.raises(ValueError, match="Received: 3 of type"):
        keras_mtl.weightings.get(3)
