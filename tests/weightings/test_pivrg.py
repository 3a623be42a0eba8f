import warnings

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.callbacks import TaskScores
from keras_mtl.weightings import CRMOGM
from keras_mtl.weightings import PIVRG
from keras_mtl.weightings import FairGrad
from tests.weightings.gradients import steps

pytestmark = pytest.mark.quick_on_torch

X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = {"a": X[:, :1], "b": 3 * X[:, 1:2] ** 2, "b_too": X[:, 2:]}
ALONE = {"a_loss": 0.5, "b_loss": 9.0, "b_too_loss": 0.1, "b_too_mae": 0.2}


def preferences(scores, bound=2.0, least=10.0):
    temperature = max(np.ptp(scores) / np.log(bound), least)
    shares = np.exp((scores - scores.max()) / temperature)
    return len(scores) * shares / shares.sum()


def reference(jacobian, p):
    """Solves G v = (p / v)^(1/2) in float64, by Newton's method."""
    gramian = jacobian @ jacobian.T

    def objective(v):
        return v @ gramian @ v / 2 - 2 * np.sqrt(p * v).sum()

    v = np.diag(gramian) ** (-2 / 3)
    for _ in range(200):
        curvature = gramian + np.diag(0.5 * np.sqrt(p) * v**-1.5)
        step = np.linalg.solve(curvature, gramian @ v - np.sqrt(p / v))
        length = min(1.0, 0.9 / max((step / v).max(), 1e-9))
        while objective(v - length * step) > objective(v) and length > 1e-9:
            length /= 2
        v = v - length * step
    np.testing.assert_allclose(gramian @ v, np.sqrt(p / v), rtol=1e-6)
    return v


@pytest.mark.parametrize(
    "bound, least",
    [(2.0, 10.0), pytest.param(1.8, 100.0, marks=pytest.mark.slow)],
)
def test_is_the_formula_of_the_official_code(bound, least):
    weighting = PIVRG(bound, least, max_norm=None)
    rng = np.random.default_rng(0)
    for jacobian in steps(5, count=60):
        scores = rng.normal(scale=rng.choice([3.0, 60.0]), size=5)
        weighting.set_scores(scores)
        gramian = (jacobian @ jacobian.T).astype("float32")
        weights = np.array(weighting(np.ones(5, "float32"), gramian))
        expected = reference(jacobian, preferences(scores, bound, least))
        np.testing.assert_allclose(weights, expected, rtol=1e-4)


def test_without_scores_it_is_fairgrad():
    for jacobian in steps()[:3]:
        gramian = (jacobian @ jacobian.T).astype("float32")
        ours, theirs = (
            np.array(made(np.ones(5), gramian))
            for made in (PIVRG(), FairGrad())
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_preferences_are_within_the_bound():
    weighting = PIVRG(bound=3.0)
    for scores in ([0.0, 1e6, -5.0], [1.0, 1.0, 1.0], [0.1, 0.2, 0.3]):
        weighting.set_scores(scores)
        found = np.array(weighting.preferences())
        assert found.sum() == pytest.approx(3.0, rel=1e-5)
        assert found.max() / found.min() <= 3.0 * (1 + 1e-5)
    assert found.max() / found.min() < 1.03


def model_of(weighting):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    features = keras.layers.Dense(4, activation="tanh")(inputs)
    outputs = {task: keras.layers.Dense(1)(features) for task in Y}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile("sgd", "mse", weighting=weighting, metrics={"b_too": ["mae"]})
    return model


def test_fit_sets_the_scores_of_the_epoch(tmp_path):
    model = model_of(PIVRG())
    history = model.fit(
        X,
        Y,
        epochs=2,
        validation_data=(X, Y),
        verbose=0,
        callbacks=[TaskScores(ALONE)],
    ).history
    last = {key: history[f"val_{key}"][-1] for key in ALONE}
    changes = {k: 100 * (last[k] - ALONE[k]) / ALONE[k] for k in ALONE}
    expected = [
        changes["a_loss"],
        changes["b_loss"],
        (changes["b_too_loss"] + changes["b_too_mae"]) / 2,
    ]
    scores = np.array(model.weighting.scores)
    np.testing.assert_allclose(scores, expected, rtol=1e-4)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(np.array(again.weighting.scores), scores)


@pytest.mark.every_backend
def test_fit_solves_the_equation_for_the_scores():
    weighting = PIVRG()
    model = model_of(weighting)
    scores = np.array([0.0, 5.0, 90.0])
    weighting.set_scores(scores)
    gramian = model.gramian(X, Y).astype("float64")
    logs = model.fit(X, Y, batch_size=16, verbose=0).history
    weights = np.array([logs[f"weight/{task}"][0] for task in Y])
    improved = gramian @ weights
    np.testing.assert_allclose(
        weights * improved**2, preferences(scores), rtol=1e-3
    )
    # Twice the preference of the first task, within the bound.
    assert preferences(scores)[2] > 1.99 * preferences(scores)[0]


@pytest.mark.parametrize("wrap", [CRMOGM, lambda x: ["equal", x]])
def test_scores_reach_the_part_of_a_wrapper(wrap):
    inner = PIVRG()
    scores = TaskScores(
        {"a_loss": 0.5, "b_loss": 9.0, "b_too_mae": 0.2}, validation=False
    )
    model = model_of(wrap(inner))
    history = model.fit(X, Y, verbose=0, callbacks=[scores]).history
    expected = 100 * (history["a_loss"][0] - 0.5) / 0.5
    assert np.array(inner.scores)[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.any_backend
def test_warns_once_where_no_score_comes():
    with pytest.warns(UserWarning, match="has had no scores") as caught:
        model_of(PIVRG()).fit(X, Y, epochs=3, verbose=0)
    assert len([w for w in caught if "no scores" in str(w.message)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model_of(PIVRG()).fit(X, Y, verbose=0)
    with pytest.warns(UserWarning, match="`TaskScores` has set no scores"):
        model_of(PIVRG()).fit(X, Y, verbose=0, callbacks=[TaskScores(ALONE)])


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "baseline, weighting, message",
    [
        ({"a_loss": 0.5, "b_loss": 1.0}, "pivrg", r"none of .*\['b_too'\]"),
        ({**ALONE, "loss": 1.0}, "pivrg", "result of a task.*Received: 'loss'"),
        ({**ALONE, "c_loss": 1.0}, "pivrg", r"Received: \['c_loss'\]"),
        (ALONE, "fairgrad", 'weighting="pivrg". Received: <FairGrad'),
    ],
)
def test_names_what_is_wrong(baseline, weighting, message):
    with pytest.raises(ValueError, match=message):
        model_of(weighting).fit(
            X, Y, verbose=0, callbacks=[TaskScores(baseline)]
        )


@pytest.mark.any_backend
def test_names_bad_arguments():
    with pytest.raises(ValueError, match="above 1. Received: bound=1"):
        PIVRG(bound=1)
    with pytest.raises(ValueError, match="Received: min_temperature=0"):
        PIVRG(min_temperature=0)
    with pytest.raises(ValueError, match="Received: scores="):
        PIVRG().set_scores([np.nan, 1.0])
    weighting = PIVRG()
    weighting.build((2,))
    with pytest.raises(ValueError, match="each of 2 tasks"):
        weighting.set_scores([0.0, 1.0, 2.0])
