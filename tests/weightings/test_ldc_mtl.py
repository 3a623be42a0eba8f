import keras
import numpy as np
import pytest

from keras_mtl.weightings import LDCMTL

pytestmark = pytest.mark.quick_on_torch

FORMS = ["none", "first", "log"]


def normalized(losses, first, form):
    if form == "first":
        return losses * first.min() / first
    return np.log(losses / first) if form == "log" else losses


def objective(logits, losses, first, form, control, total=None):
    """The single-level objective of the paper, in float64."""
    shares = 1 / (1 + np.exp(-logits))
    terms = shares * normalized(losses, first, form)
    total = shares.sum() if total is None else total
    differences = np.abs(terms[:-1] - terms[1:]).sum()
    return terms.sum() / total + control * differences


def gradient_of(function, point, step=1e-6):
    steps = step * np.eye(len(point))
    return np.array(
        [
            (function(point + d) - function(point - d)) / (2 * step)
            for d in steps
        ]
    )


class Reference:
    """Gradients by finite differences, and Adam, in float64."""

    def __init__(self, form, control, detach_sum, rate):
        self.arguments = form, control
        self.detach_sum, self.rate = detach_sum, rate
        self.logits, self.moments, self.steps = None, None, 0

    def __call__(self, losses):
        if self.logits is None:
            self.first = losses
            self.logits = np.ones(len(losses))
            self.moments = np.zeros((2, len(losses)))
        total = None
        if self.detach_sum:
            total = (1 / (1 + np.exp(-self.logits))).sum()
        weights = gradient_of(
            lambda x: objective(self.logits, x, self.first, *self.arguments),
            losses,
        )
        gradient = gradient_of(
            lambda w: objective(w, losses, self.first, *self.arguments, total),
            self.logits,
        )
        self.steps += 1
        mean, square = self.moments
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        self.moments = np.stack([mean, square])
        mean = mean / (1 - 0.9**self.steps)
        square = square / (1 - 0.999**self.steps)
        self.logits = self.logits - self.rate * mean / (np.sqrt(square) + 1e-7)
        return weights


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize(
    "form, detach_sum", [(form, form == "first") for form in FORMS]
)
def test_is_the_gradient_of_the_objective(form, detach_sum):
    losses = np.random.default_rng(0).uniform(0.2, 3.0, (60, 4))
    weighting = LDCMTL(0.1, form, detach_sum, learning_rate=0.05)
    reference = Reference(form, 0.1, detach_sum, 0.05)
    for step in losses:
        expected = reference(step)
        np.testing.assert_allclose(
            weighting(step), expected, rtol=2e-4, atol=1e-6
        )
    assert np.abs(reference.logits - 1).max() > 0.1
    np.testing.assert_allclose(weighting.logits, reference.logits, rtol=5e-4)


@pytest.mark.parametrize("unit", [1.0, 1e3, 1e6])
def test_the_unit_of_the_losses_does_not_matter(unit):
    losses = np.random.default_rng(0).uniform(0.2, 3.0, (30, 3))
    logits = []
    for factor in (1.0, unit):
        weighting = LDCMTL(0.1, learning_rate=0.05)
        for step in losses:
            weighting(factor * step)
        logits.append(np.array(weighting.logits))
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-3)


def test_rounding_in_the_first_step_bounds_nothing():
    weighting = LDCMTL(normalization="first", learning_rate=0.05)
    for step in np.random.default_rng(0).uniform(0.5, 2.0, (2, 16)):
        weighting(step.astype("float32"))
    # Adam's second step, after one of zero.
    changes = np.abs(np.array(weighting.logits) - 1)
    assert np.median(changes) > 0.02


def test_brings_weighted_losses_together():
    weighting = LDCMTL(1.0, learning_rate=0.05)
    losses = np.array([1.0, 1.5, 3.0])
    for _ in range(300):
        weighting(losses)
    terms = losses / (1 + np.exp(-np.array(weighting.logits)))
    assert np.ptp(terms) < 0.1


def test_learns_at_the_models_rate():
    weighting = LDCMTL()
    assert weighting.needs_learning_rate
    weighting.build((2,))
    weighting.model_learning_rate.assign(0.0)
    weighting(np.array([1.0, 3.0]))
    np.testing.assert_array_equal(np.array(weighting.logits), [1.0, 1.0])


def test_a_task_without_a_label_takes_no_part():
    weighting, without = LDCMTL(), LDCMTL()
    weights = np.array(weighting(np.array([1.0, 3.0, 0.0])))
    expected = np.array(without(np.array([1.0, 3.0])))
    np.testing.assert_allclose(weights, [*expected, 0.0], rtol=1e-6)
    assert float(weighting.logits[2]) == 1.0


def test_other_normalizations_need_positive_losses():
    assert not LDCMTL().needs_positive_losses
    assert LDCMTL(normalization="log").needs_positive_losses
    config = keras.saving.serialize_keras_object(LDCMTL(normalization="first"))
    again = keras.saving.deserialize_keras_object(config)
    assert again.normalization == "first"
