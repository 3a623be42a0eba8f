"""SAMO: the gradients of each task are those at parameters of its own."""

import keras
import numpy as np
import pytest

from keras_mtl.weightings import CRMOGM
from keras_mtl.weightings import SAMO
from keras_mtl.weightings import GradDrop
from keras_mtl.weightings import MetaBalance
from keras_mtl.weightings import NashMTL
from tests.utils import BACKEND
from tests.utils import arrays
from tests.weightings.linear_network import MODES
from tests.weightings.linear_network import X
from tests.weightings.linear_network import Y
from tests.weightings.linear_network import fit
from tests.weightings.linear_network import loss_and_gradients
from tests.weightings.linear_network import make_model
from tests.weightings.linear_network import make_multi_loss_model

RNG = np.random.default_rng(0)


def draws(seed, count, shape):
    """The z of `count` tasks, one after the other."""
    generator = keras.random.SeedGenerator(seed)
    return [
        np.float64(
            keras.ops.convert_to_numpy(
                keras.random.normal(shape, seed=generator)
            )
        )
        for _ in range(count)
    ]


def official(gradient, estimate, beta, rho):
    """The perturbation of the official code, whose estimates have a size."""
    mixed = []
    for g, z in zip(gradient, estimate):
        local = np.linalg.norm(g) * z / np.linalg.norm(z)
        mixed.append((1 - beta) * g + beta * local)
    scale = rho / (np.sqrt(sum((m**2).sum() for m in mixed)) + 1e-12)
    return [scale * m for m in mixed]


@pytest.mark.quick_on_torch(2)
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_perturbs_as_the_official_code(beta):
    gradient = [RNG.normal(size=(3, 2)), RNG.normal(size=(3, 2))]
    own = [RNG.normal(size=(4,))]
    samo = SAMO("sum", rho=0.1, beta=beta, seed=1)

    def change(moves):
        assert np.all(np.abs(keras.ops.convert_to_numpy(moves[0])) < 0.1)
        return keras.ops.convert_to_tensor(-2e-3)

    given = [[g.astype("float32") for g in x] for x in (gradient, own)]
    shared, of_head = samo.perturb(*given, change)
    z = draws(1, 2, (3, 2))
    slope = -2e-3 / (2 * samo.epsilon)
    expected = official(gradient, [slope * part for part in z], beta, 0.1)
    for found, part in zip(shared, expected):
        np.testing.assert_allclose(np.array(found), part, rtol=1e-5, atol=1e-7)
    part = 0.1 * own[0] / np.linalg.norm(own[0])
    np.testing.assert_allclose(np.array(of_head[0]), part, rtol=1e-5)


@pytest.mark.any_backend
def test_a_gradient_of_any_size_moves_by_rho():
    for size in (1e-30, 1.0, 1e30):
        samo = SAMO("sum", rho=0.5, beta=0.0)
        gradient = size * np.array([3.0, 4.0], "float32")
        moved, own = samo.perturb([gradient, None], [0 * gradient], None)
        np.testing.assert_allclose(np.array(moved[0]), [0.3, 0.4], rtol=1e-5)
        assert moved[1] is None
        np.testing.assert_array_equal(np.array(own[0]), 0.0)


def reference_step(trunk, heads, z, samo):
    """Returns the gradients of a step, with equal weights."""
    plain = {t: loss_and_gradients(trunk, heads[t], Y[t]) for t in heads}
    mean = sum(g for _, g, _ in plain.values()) / len(plain)
    of_trunk, of_heads = 0.0, {}
    for t, draw in zip(heads, z):
        move = samo.epsilon * draw
        forth, back = (
            loss_and_gradients(trunk + s * move, heads[t], Y[t])[0]
            for s in (1, -1)
        )
        estimate = (forth - back) / (2 * samo.epsilon) * draw
        (change,) = official([mean], [estimate], samo.beta, samo.rho)
        own = plain[t][2]
        moved = heads[t] + samo.rho * own / np.linalg.norm(own)
        _, g, of_heads[t] = loss_and_gradients(trunk + change, moved, Y[t])
        of_trunk = of_trunk + g
    return of_trunk, of_heads


@pytest.mark.parametrize("mode", MODES)
def test_training_is_that_of_numpy(mode):
    samo, steps = SAMO("sum", rho=0.3, beta=0.4, seed=3), 10
    model = make_model(samo, rate=0.02, tasks=["a", "b"], **mode)
    trunk, *heads = (np.float64(v) for v in arrays(model.trainable_variables))
    heads = dict(zip(model.tasks, heads))
    z = iter(draws(3, steps * len(heads), trunk.shape))
    for _ in range(steps):
        z_of_step = [next(z) for _ in heads]
        of_trunk, of_heads = reference_step(trunk, heads, z_of_step, samo)
        trunk = trunk - 0.02 * of_trunk
        heads = {t: heads[t] - 0.02 * of_heads[t] for t in heads}
    fit(model, epochs=steps)
    for found, expected in zip(
        arrays(model.trainable_variables), [trunk, *heads.values()]
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.quick_on_torch
def test_without_a_step_uphill_it_is_the_method_inside():
    plain = fit(make_model("mgda"), epochs=3)
    wrapped = fit(make_model(SAMO("mgda", rho=1e-9)), epochs=3)
    for one, other in zip(plain, wrapped):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.quick_on_torch
def test_statistics_and_seeds_are_those_of_one_pass():
    kwargs = {"norm": True, "dropout": 0.5, "rate": 0.0}
    plain, wrapped = (
        make_model(weighting, **kwargs)
        for weighting in ("sum", SAMO("sum", rho=10.0))
    )
    for model in (plain, wrapped):
        fit(model)
    own = {id(v) for v in wrapped.weighting.variables}
    state = [v for v in wrapped.non_trainable_variables if id(v) not in own]
    own = {id(v) for v in plain.weighting.variables}
    expected = [v for v in plain.non_trainable_variables if id(v) not in own]
    assert len(state) == 3
    for one, other in zip(arrays(state), arrays(expected)):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.quick_on_torch
def test_dropout_is_that_of_the_step():
    """With a step uphill of nearly nothing, the gradients are the same."""
    kwargs = {"norm": True, "dropout": 0.5}
    plain = fit(make_model("sum", **kwargs), epochs=2)
    wrapped = fit(make_model(SAMO("sum", rho=1e-9), **kwargs), epochs=2)
    for one, other in zip(plain, wrapped):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.quick_on_torch
@pytest.mark.parametrize(
    "weighting", [GradDrop(), MetaBalance(), CRMOGM("mgda"), ["equal", "sum"]]
)
def test_wraps_every_gradient_balancing(weighting):
    before = make_model("sum").get_weights()
    model = make_model(["scale_invariant", SAMO(weighting)])
    for new, old in zip(fit(model), before):
        assert np.all(np.isfinite(new)) and not np.array_equal(new, old)


@pytest.mark.quick_on_torch
def test_works_where_losses_alone_are_known():
    functional = make_model(SAMO("mgda", rho=0.1, seed=0))
    model = make_multi_loss_model(SAMO("mgda", rho=0.1, seed=0))
    for one, other in zip(fit(model, 2), fit(functional, 2)):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.quick_on_torch
def test_does_not_depend_on_the_loss_scale():
    plain, scaled = (
        fit(make_model(SAMO("mgda", rho=0.1, seed=0), **kwargs), epochs=2)
        for kwargs in ({}, {"loss_scale": 1024.0})
    )
    for one, other in zip(plain, scaled):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="is compiled by XLA")
def test_xla_compiles_it():
    mode = {"run_eagerly": False, "jit_compile": True}
    plain, compiled = (
        fit(make_model(SAMO(rho=0.1, beta=0.0), **kwargs), epochs=3)
        for kwargs in ({}, mode)
    )
    for one, other in zip(plain, compiled):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    # The compiler draws other numbers.
    for value in fit(make_model(SAMO(rho=0.1), **mode), epochs=3):
        assert np.all(np.isfinite(value))


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "weighting",
    [
        "equal",
        NashMTL(gradients="features"),
        NashMTL(update_every=2),
        NashMTL(gramian_batch=0.5),
        NashMTL(shared="last"),
        SAMO("sum"),
    ],
)
def test_refuses_what_it_cannot_wrap(weighting):
    with pytest.raises(ValueError, match="Received: weighting=<"):
        SAMO(weighting)


@pytest.mark.any_backend
def test_names_what_it_cannot_do():
    for kwargs in ({"scale_invariant": True}, {"floor": 0.1}):
        with pytest.raises(ValueError, match="belongs to a loss balancing"):
            SAMO("sum", **kwargs)
    for kwargs in ({"rho": 0.0}, {"beta": 1.5}, {"epsilon": -1.0}):
        with pytest.raises(ValueError, match="Received"):
            SAMO("sum", **kwargs)


@pytest.mark.any_backend
def test_refuses_several_replicas(monkeypatch):
    from keras_mtl.training import perturbation

    monkeypatch.setattr(perturbation.replicas, "count", lambda: 2)
    model = make_model(SAMO("sum"), run_eagerly=True)
    with pytest.raises(Exception, match="Expected one replica for SAMO"):
        model.train_on_batch(X, Y)


@pytest.mark.any_backend
def test_refuses_loops_of_ones_own():
    from keras_mtl.training.loop import loop_of

    with pytest.raises(ValueError, match="in `fit`, SAMO computes"):
        loop_of(SAMO("sum"))
