"""A weighting that is wrong fails the check that is for it."""

import keras
import pytest
from keras import ops

from keras_mtl.testing import check_weighting
from keras_mtl.testing.weighting_checks import CHECKS
from keras_mtl.weightings import GradientWeighting
from keras_mtl.weightings import NashMTL
from keras_mtl.weightings import Weighting

register = keras.saving.register_keras_serializable("keras_mtl_tests")


class Ones(Weighting):
    def compute_weights(self, losses):
        return ops.ones_like(losses)


@register
class OtherConfig(Ones):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = 2 * factor


@register
class HalfPrecision(Ones):
    def call(self, losses, gramian=None):
        return ops.cast(super().call(losses), "float16")


@register
class FourTasks(Ones):
    def compute_weights(self, losses):
        return ops.ones((4,))


@register
class PythonCounter(Ones):
    calls = 0

    def compute_weights(self, losses):
        PythonCounter.calls += 1
        return PythonCounter.calls * ops.ones_like(losses)


@register
class Unguarded(Ones):
    def call(self, losses, gramian=None):
        return 1.0 / ops.convert_to_tensor(losses)


@register
class NegativeWeights(Ones):
    needs_positive_losses = True

    def call(self, losses, gramian=None):
        return ops.ones_like(losses)


@register
class UnguardedGramian(GradientWeighting):
    def call(self, losses, gramian=None):
        return 1.0 / ops.diagonal(ops.convert_to_tensor(gramian))


@register
class UnguardedState(Ones):
    def build_state(self, num_tasks):
        self.total = self.add_state((num_tasks,), name="total")

    def call(self, losses, gramian=None):
        self.total.assign(self.total + losses)
        return super().call(losses)


@register
class Endless(Ones):
    def call(self, losses, gramian=None):
        return float("inf") * super().call(losses)


@register
class Unsaved(Ones):
    def build_state(self, num_tasks):
        self.count = self.add_state(name="count")

    def compute_weights(self, losses):
        self.count.assign(self.count + 1.0)
        return self.count * ops.ones_like(losses)

    def save_own_variables(self, store):
        pass


BROKEN = [
    ("serialization", OtherConfig, "has another config"),
    ("weights", HalfPrecision, "Received: float16 of shape"),
    ("number_of_tasks", FourTasks, ""),
    ("compiled", PythonCounter, "compiled, it gives other weights"),
    ("extreme_losses", Unguarded, r"finite weights for losses=\[0.0"),
    ("extreme_losses", NegativeWeights, "negative losses get no weight"),
    ("degenerate_gramians", UnguardedGramian, "a Gramian that is zero"),
    ("non_finite", UnguardedState, "nan in `losses` changes the state"),
    ("training", Endless, "`fit` gives weights of NaN"),
    ("saving", Unsaved, "loaded weighting is not that which was saved"),
]


@pytest.mark.parametrize("check, cls, message", BROKEN)
def test_a_broken_weighting_fails(check, cls, message):
    expected = f"The check `{check}` failed for <{cls.__name__} .*{message}"
    with pytest.raises(AssertionError, match=expected):
        check_weighting(cls, checks=[check])


def test_each_check_can_fail():
    assert {check for check, *_ in BROKEN} == set(CHECKS)


@pytest.mark.quick_on_torch
def test_a_good_weighting_passes():
    check_weighting(Ones)
    check_weighting(NashMTL(max_norm=2.0), checks=["weights"])
    check_weighting(lambda: Ones(), checks=["weights"])


def test_a_check_may_be_left_out():
    check_weighting(HalfPrecision, checks=["weights"], skip=["weights"])
    with pytest.raises(ValueError, match=r"Received: \['wieghts'\]"):
        check_weighting(Ones, skip=["wieghts"])
