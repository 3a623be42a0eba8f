"""A wrapper answers as the weightings inside of it."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.weightings import CRMOGM
from keras_mtl.weightings import DBMTL
from keras_mtl.weightings import FAMO
from keras_mtl.weightings import IMTLL
from keras_mtl.weightings import Chain
from keras_mtl.weightings import GradientWeighting
from keras_mtl.weightings import IGBv2
from keras_mtl.weightings import Sum
from keras_mtl.weightings import Weighting
from keras_mtl.weightings.wrapper import Forwarded
from keras_mtl.weightings.wrapper import Wrapper

LOSSES = np.array([1.0, 2.0], "float32")
GRAMIAN = np.array([[1.0, 0.0], [0.0, 16.0]], "float32")

# What a wrapper does by itself, and why.
OWN = {
    "build": "makes its own weights, and `build_state` builds the parts",
    "build_state": "builds the parts",
    "add_state": "adds to the wrapper",
    "call": "guards its own state; each part guards its own, too",
    "compute_weights": "is the method",
    "compute_output_spec": "is the same for all weightings",
    "after_step": "tells each part of its losses",
    "before_step": "tells the parts that need it",
    "update_before_step": "`before_step` tells the parts",
    "update_after_step": "`after_step` tells the parts",
    "head_weights": "combines those of the parts",
    "needs_learning_rate": "the variable belongs to the part",
    "aggregate": "is made of forwarded hooks",
    "combining": "looks at the wrapper's variables, which include the parts'",
    "complete_older_state": "Keras loads the parts as layers",
    "implied_arguments": "are of the wrapper's own constructor",
    "num_newer_variables": "Keras loads the parts as layers",
    "save_own_variables": "Keras saves the parts as layers",
    "load_own_variables": "Keras loads the parts as layers",
    "get_config": "the parts are in the config of the wrapper",
    "from_config": "the parts are in the config of the wrapper",
}


def hooks():
    """What a model or a training loop may ask of a weighting."""
    names = {*vars(Weighting), *vars(GradientWeighting)}
    attributes = {"measurement", "weigh_heads", "_unguarded_variables"}
    return sorted({n for n in names if not n.startswith("_")} | attributes)


@pytest.mark.parametrize("name", hooks())
def test_no_hook_is_forgotten(name):
    is_forwarded = isinstance(
        inspect.getattr_static(Wrapper, name, None), Forwarded
    )
    assert is_forwarded != (name in OWN), (
        f"`{name}` is neither forwarded by `Wrapper` nor listed here as its own"
    )


class Told(Sum):
    """Sets every flag, and counts what it is told."""

    needs_epochs = True
    needs_losses_after = True
    needs_positive_losses = True
    balances_logarithms = True
    needs_learning_rate = True

    def build_state(self, num_tasks):
        self.large = self.add_state((num_tasks,), name="large")
        self.told = []

    def on_epoch_begin(self):
        self.told.append("begin")

    def on_epoch_end(self):
        self.told.append("end")

    def update_after_step(self, losses):
        self.told.append(ops.convert_to_numpy(losses).tolist())

    def head_weights(self):
        return ops.convert_to_tensor([3.0, 4.0])

    def untracked_variables(self):
        return ["untracked"]

    def _unguarded_variables(self):
        return [self.large]


@pytest.mark.parametrize("wrap", [CRMOGM, lambda x: Chain(["equal", x])])
def test_answers_as_the_part(wrap):
    inner = Told(weigh_heads=False, gradients="features", gramian_batch=0.5)
    outer = wrap(inner)
    outer(LOSSES, GRAMIAN)
    for name in ("needs_epochs", "needs_losses_after", "needs_gradients"):
        assert getattr(outer, name) is True
    assert outer.needs_positive_losses and outer.balances_logarithms
    assert not outer.needs_learning_rate
    assert outer.learning_rate_variables == inner.learning_rate_variables
    assert outer.untracked_variables() == ["untracked"]
    assert outer._unguarded_variables() == [inner.large]
    assert outer.measurement == inner.measurement
    assert not outer.weigh_heads and outer.is_linear
    outer.on_epoch_begin()
    outer.after_step(ops.convert_to_tensor(LOSSES))
    outer.on_epoch_end()
    assert inner.told == ["begin", LOSSES.tolist(), "end"]
    assert bool(outer.is_due())
    matrix = np.arange(6, dtype="float32").reshape(2, 3)
    combined = outer.combine(*map(ops.convert_to_tensor, (matrix, LOSSES)))
    np.testing.assert_allclose(ops.convert_to_numpy(combined), LOSSES @ matrix)


def test_cr_mogm_keeps_the_weights_of_the_heads():
    """DB-MTL's heads follow the gradients of log L."""
    plain, wrapped = DBMTL(), CRMOGM(DBMTL())
    for weighting in (plain, wrapped):
        weighting(LOSSES, GRAMIAN)
        heads = ops.convert_to_numpy(weighting.head_weights())
        np.testing.assert_allclose(heads, [1.0, 0.5])
    assert wrapped.needs_positive_losses


@pytest.mark.parametrize("inner_weighs", [False, True])
def test_cr_mogm_decides_whether_the_heads_are_weighed(inner_weighs):
    inner = DBMTL(weigh_heads=inner_weighs)
    never = CRMOGM(inner, weigh_heads=False)
    never(LOSSES, GRAMIAN)
    heads = ops.convert_to_numpy(never.head_weights())
    np.testing.assert_allclose(heads, [1.0, 0.5])
    always = CRMOGM(DBMTL(weigh_heads=inner_weighs), weigh_heads=True)
    weights = ops.convert_to_numpy(always(LOSSES, GRAMIAN))
    heads = ops.convert_to_numpy(always.head_weights())
    np.testing.assert_array_equal(heads, weights)
    assert not np.allclose(weights, [1.0, 0.5])


def test_cr_mogm_gives_no_weight_to_a_loss_that_is_not_positive():
    weighting = CRMOGM(DBMTL())
    weighting(LOSSES, GRAMIAN)
    weights = weighting(np.array([1.0, -2.0], "float32"), GRAMIAN)
    weights = ops.convert_to_numpy(weights)
    assert weights[0] > 0.0 and weights[1] == 0.0


def test_chain_tells_each_part_of_its_losses():
    famo = FAMO(learning_rate=0.1)
    chain = Chain([famo, "sum"])
    chain(LOSSES, GRAMIAN)
    before = ops.convert_to_numpy(famo.logits).copy()
    after = LOSSES * np.float32([0.5, 1.0])
    chain.after_step(ops.convert_to_tensor(after))
    assert not np.allclose(ops.convert_to_numpy(famo.logits), before)


def test_chain_lists_the_variables_of_all_parts():
    imtl_l, agent = IMTLL(None), IGBv2(agent="keras")
    chain = Chain([imtl_l, agent, "sum"])
    chain.build((2,))
    assert chain.learning_rate_variables == [
        imtl_l.model_learning_rate,
        agent.model_learning_rate,
    ]
    assert chain._unguarded_variables() == agent._unguarded_variables()


def test_chain_aggregates():
    """With weights 1 / L, then the sum of the gradients."""
    jacobian = np.array([[1.0, 0.0], [0.0, 4.0]], "float32")
    chain = Chain(["scale_invariant", Sum(max_norm=1.0)])
    direction = ops.convert_to_numpy(chain.aggregate(jacobian, LOSSES))
    expected = np.array([1.0, 2.0])
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(direction, expected, rtol=1e-6)


def test_a_wrapper_of_ones_own_forgets_nothing():
    @keras.saving.register_keras_serializable(package="keras_mtl_tests")
    class Half(Wrapper):
        def __init__(self, weighting, **kwargs):
            super().__init__(**kwargs)
            self.weighting = weighting

        def _parts(self):
            return [self.weighting]

        def compute_weights(self, losses):
            return self.weighting(losses) / 2

    half = Half(FAMO())
    weights = [ops.convert_to_numpy(w(LOSSES)) for w in (half, FAMO())]
    np.testing.assert_allclose(weights[0], weights[1] / 2)
    assert half.needs_losses_after and half.needs_positive_losses
    assert not half.needs_gradients
