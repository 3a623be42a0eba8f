"""Auto-Lambda and MOML: weights that are learned on validation data."""

import keras
import numpy as np
import pytest

from keras_mtl.datasets import ShuffledBatches
from keras_mtl.selection import TaskSampler
from keras_mtl.weightings import MOML
from keras_mtl.weightings import AutoLambda
from tests.utils import BACKEND
from tests.utils import arrays
from tests.weightings.linear_network import MODES
from tests.weightings.linear_network import X
from tests.weightings.linear_network import Y
from tests.weightings.linear_network import fit
from tests.weightings.linear_network import loss_and_gradients
from tests.weightings.linear_network import make_model
from tests.weightings.linear_network import make_multi_loss_model

X_VAL = np.random.default_rng(1).normal(size=(8, 3)).astype("float32")
Y_VAL = {"a": X_VAL[:, :1] * 2, "b": X_VAL[:, 1:2], "c": X_VAL[:, 2:]}
VALIDATION = {"validation_for_weighting": (X_VAL, Y_VAL)}
RATE = 0.05


class Reference:
    """The network and its weights in float64."""

    def __init__(self, model):
        trunk, *heads = arrays(model.trainable_variables)
        self.trunk = np.float64(trunk)
        self.heads = dict(zip(model.tasks, map(np.float64, heads)))

    def gradients(self, x, y, move=None):
        """The gradients of all parameters, a row for each task."""
        trunk, heads = self.moved(move)
        rows = []
        for i, task in enumerate(heads):
            _, g, h = loss_and_gradients(trunk, heads[task], y[task], x)
            of_heads = np.zeros((len(heads), *h.shape))
            of_heads[i] = h
            rows.append(np.concatenate([g.ravel(), of_heads.ravel()]))
        return np.array(rows)

    def losses(self, x, y, move):
        trunk, heads = self.moved(move)
        losses = [
            loss_and_gradients(trunk, heads[task], y[task], x)[0]
            for task in heads
        ]
        return np.array(losses)

    def moved(self, move):
        if move is None:
            return self.trunk, self.heads
        size, shape = self.trunk.size, self.trunk.shape
        of_heads = move[size:].reshape(len(self.heads), -1, 1)
        heads = {
            task: head + part
            for (task, head), part in zip(self.heads.items(), of_heads)
        }
        return self.trunk + move[:size].reshape(shape), heads

    def slopes(self, training, validation, weights, objective, rate):
        """The inner products, by the finite differences of the paper."""
        step = -rate * weights @ self.gradients(*training)
        d = objective @ self.gradients(*validation, step)
        epsilon = 0.01 / np.linalg.norm(d)
        forth, back = (self.losses(*training, s * epsilon * d) for s in (1, -1))
        return (forth - back) / (2 * epsilon)

    def train(self, weights):
        move = -RATE * weights @ self.gradients(X, Y)
        self.trunk, self.heads = self.moved(move)


class Adam:
    def __init__(self, rate, size):
        self.rate, self.steps = rate, 0
        self.mean, self.square = np.zeros(size), np.zeros(size)

    def step(self, gradient):
        self.steps += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.999 * self.square + 0.001 * gradient**2
        mean = self.mean / (1 - 0.9**self.steps)
        square = self.square / (1 - 0.999**self.steps)
        return -self.rate * mean / (np.sqrt(square) + 1e-8)


def halves():
    first, last = slice(4), slice(4, None)
    return (
        (X[first], {task: y[first] for task, y in Y.items()}),
        (X[last], {task: y[last] for task, y in Y.items()}),
    )


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("given", [True, False], ids=["data", "halves"])
def test_auto_lambda_is_that_of_numpy(mode, given):
    weighting = AutoLambda(primary=["a", "b"], learning_rate=0.02, initial=0.5)
    model = make_model(weighting, rate=RATE, **mode)
    reference, lambdas = Reference(model), np.full(3, 0.5)
    training, validation = (X, Y), (X_VAL, Y_VAL)
    if not given:
        training, validation = halves()
    adam, primary = Adam(0.02, 3), np.array([1.0, 1.0, 0.0])
    for _ in range(20):
        slopes = reference.slopes(training, validation, lambdas, primary, RATE)
        lambdas = lambdas + adam.step(-RATE * slopes)
        reference.train(lambdas)
    fit(model, 20, **(VALIDATION if given else {}))
    np.testing.assert_allclose(arrays([weighting.lambdas])[0], lambdas, 2e-3)
    trunk = arrays(model.trainable_variables)[0]
    np.testing.assert_allclose(trunk, reference.trunk, rtol=2e-3, atol=1e-4)


@pytest.mark.quick_on_torch
def test_moml_is_that_of_numpy():
    tasks = ["a", "c"]
    weighting = MOML(learning_rate=0.02)
    model = make_model(weighting, rate=RATE, tasks=tasks)
    reference, logits, adam = Reference(model), np.zeros(2), Adam(0.02, 2)
    for _ in range(20):
        shares = np.exp(logits) / np.exp(logits).sum()
        jacobian = np.diag(shares) - np.outer(shares, shares)
        data = (X, Y), (X_VAL, Y_VAL)
        rows = [
            -0.1 * reference.slopes(*data, shares, alone, 0.1) @ jacobian
            for alone in np.eye(2)
        ]
        first, second = (row / np.linalg.norm(row) for row in rows)
        # With two tasks both rows are multiples of (1, -1).
        joined = 0 * first if first @ second < 0 else first
        logits = logits + adam.step(joined)
        shares = np.exp(logits) / np.exp(logits).sum()
        reference.train(2 * shares)
    own = {task: Y_VAL[task] for task in tasks}
    fit(model, 20, validation_for_weighting=(X_VAL, own))
    np.testing.assert_allclose(
        arrays([weighting.logits])[0], logits, rtol=5e-3, atol=1e-4
    )


@pytest.mark.quick_on_torch
def test_a_task_that_helps_gains_weight():
    """Task b is task a, and task c is the opposite of it."""
    y = {"a": X[:, :1], "b": X[:, :1], "c": -X[:, :1]}
    model = make_model(AutoLambda(primary="a"))
    trunk, head, *_ = model.get_weights()
    model.set_weights([trunk, head, head, head])
    history = model.fit(X, y, epochs=3, batch_size=8, verbose=0).history
    a, b, c = (history[f"weight/{task}"][-1] for task in Y)
    assert a > 0.1 and b > 0.1 > c


def kinds_of_data():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return X_VAL, Y_VAL

    yield "sequence", Batches
    if BACKEND == "tensorflow":
        import tensorflow as tf

        dataset = tf.data.Dataset.from_tensor_slices((X_VAL, Y_VAL))
        yield "tf.data", lambda: dataset.batch(8)
    if BACKEND == "torch":
        from torch.utils.data import DataLoader

        examples = [
            (x, {task: Y_VAL[task][i] for task in Y_VAL})
            for i, x in enumerate(X_VAL)
        ]
        yield "loader", lambda: DataLoader(examples, batch_size=8)


KINDS = dict(kinds_of_data())


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_takes_every_kind_of_data(kind):
    expected = fit(make_model(AutoLambda(learning_rate=0.1)), 3, **VALIDATION)
    model = make_model(AutoLambda(learning_rate=0.1))
    found = fit(model, 3, validation_for_weighting=kind())
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="is its kind of data")
def test_a_data_set_of_tensorflow_goes_on_from_epoch_to_epoch():
    import tensorflow as tf

    y = {task: np.copy(labels) for task, labels in Y_VAL.items()}
    for labels in y.values():
        labels[:4] = np.nan
    batches = tf.data.Dataset.from_tensor_slices((X_VAL, y)).batch(4)
    weighting = AutoLambda(learning_rate=0.1)
    model = make_model(weighting)
    # The first batch has no label, and an epoch takes one.
    fit(model, 1, validation_for_weighting=batches)
    np.testing.assert_allclose(arrays([weighting.lambdas])[0], 0.1)
    fit(model, 2, validation_for_weighting=batches)
    assert np.all(arrays([weighting.lambdas])[0] != 0.1)


@pytest.mark.quick_on_torch
def test_a_resumed_training_takes_the_same_batches():
    batches = ShuffledBatches(X, Y, batch_size=4, seed=1)
    options = {"verbose": 0, "batch_size": 2, **VALIDATION}
    found = []
    for ends in ([3], [1, 3]):
        weighting = AutoLambda(learning_rate=0.1)
        model = make_model(weighting)
        for begin, end in zip([0, *ends], ends):
            np.random.seed(begin + len(ends))
            options.update(initial_epoch=begin, epochs=end)
            model.fit(batches, **options)
        found += arrays([weighting.lambdas])
    np.testing.assert_allclose(*found, rtol=1e-5)


@pytest.mark.quick_on_torch
def test_smaller_batches_are_taken_again_and_again():
    weighting = AutoLambda(learning_rate=0.1)
    model = make_model(weighting, norm=True, dropout=0.5)
    data = X_VAL[:5], {task: y[:5] for task, y in Y_VAL.items()}
    fit(model, 2, batch_size=3, validation_for_weighting=data)
    lambdas = arrays([weighting.lambdas])[0]
    assert np.all(np.isfinite(lambdas)) and np.all(lambdas != 0.1)


@pytest.mark.quick_on_torch
def test_missing_labels_of_the_validation_data_are_left_out():
    y = {**Y_VAL, "c": np.full_like(Y_VAL["c"], np.nan)}
    without, expected = AutoLambda(), AutoLambda(primary=["a", "b"])
    for weighting, labels in ((without, y), (expected, Y_VAL)):
        model = make_model(weighting)
        fit(model, 2, validation_for_weighting=(X_VAL, labels))
    np.testing.assert_allclose(*arrays([without.lambdas, expected.lambdas]))


@pytest.mark.quick_on_torch
def test_statistics_and_seeds_are_those_of_one_pass():
    models = [
        make_model(weighting, norm=True, dropout=0.5, rate=0.0)
        for weighting in ("equal", AutoLambda())
    ]
    states = []
    for model in models:
        fit(model)
        own = {id(v) for v in model.weighting.variables}
        others = model.non_trainable_variables
        states.append(arrays([v for v in others if id(v) not in own]))
    assert len(states[0]) == 3
    for one, other in zip(*states):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.quick_on_torch
def test_goes_on_from_a_file(tmp_path):
    model = make_model(AutoLambda(primary="b", learning_rate=0.01))
    fit(model, 2, **VALIDATION)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.weighting.primary == ["b"]
    for one, other in zip(
        fit(loaded, 2, **VALIDATION), fit(model, 2, **VALIDATION)
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        *arrays([loaded.weighting.lambdas, model.weighting.lambdas]), rtol=1e-5
    )


@pytest.mark.quick_on_torch
def test_works_where_losses_alone_are_known():
    functional = make_model(AutoLambda(learning_rate=0.1))
    model = make_multi_loss_model(AutoLambda(learning_rate=0.1))
    for one, other in zip(
        fit(model, 2, **VALIDATION), fit(functional, 2, **VALIDATION)
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.quick_on_torch
def test_chained_it_learns_as_alone():
    lambdas = []
    for wrap in (lambda x: x, lambda x: [x, "sum"]):
        weighting = AutoLambda(learning_rate=0.1)
        fit(make_model(wrap(weighting)), 3, **VALIDATION)
        lambdas += arrays([weighting.lambdas])
    np.testing.assert_allclose(*lambdas, rtol=1e-3)


@pytest.mark.quick_on_torch
def test_does_not_depend_on_the_loss_scale():
    plain, scaled = (
        fit(make_model(AutoLambda(learning_rate=0.1), **kwargs), 2)
        for kwargs in ({}, {"loss_scale": 1024.0})
    )
    for one, other in zip(plain, scaled):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="is compiled by XLA")
@pytest.mark.parametrize("make", [AutoLambda, MOML])
def test_xla_compiles_it(make):
    plain, compiled = (
        fit(make_model(make(), **mode), 3, **VALIDATION)
        for mode in ({}, {"run_eagerly": False, "jit_compile": True})
    )
    for one, other in zip(plain, compiled):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.any_backend
def test_a_step_that_is_not_finite_changes_no_state():
    weighting = AutoLambda()
    weighting.build((3,))
    before = arrays(weighting.variables)
    weighting.before_step(
        lambda *_: keras.ops.convert_to_tensor([[1.0, np.nan, 2.0]]),
        keras.ops.convert_to_tensor(0.1),
    )
    for one, other in zip(arrays(weighting.variables), before):
        np.testing.assert_array_equal(one, other)


@pytest.mark.any_backend
def test_names_what_is_wrong():
    model = make_model("equal")
    with pytest.raises(ValueError, match='such as "auto_lambda"'):
        fit(model, **VALIDATION)
    model = make_model("auto_lambda")
    with pytest.raises(ValueError, match="Received: validation_split=0.5"):
        fit(model, validation_split=0.5, **VALIDATION)
    labels = {"a": Y_VAL["a"]}
    with pytest.raises(ValueError, match=r"`validation_for_weighting=\(x, "):
        fit(model, validation_for_weighting=(X_VAL, labels))
    sampler = TaskSampler({task: (X, y) for task, y in Y.items()}, batch_size=4)
    with pytest.raises(ValueError, match="Expected no `validation_for_weight"):
        model.fit(sampler, **VALIDATION)
    with pytest.raises(ValueError, match="Received: primary="):
        make_model(AutoLambda(primary="d"))
    for primary in (1, [], ["a", 2]):
        with pytest.raises(ValueError, match="Received: primary="):
            AutoLambda(primary=primary)


def generator(*batches):
    yield from batches


@pytest.mark.any_backend
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "Received: a int 3"),
        ("x", "Received: a str x"),
        ({"a": (X_VAL, Y_VAL)}, "Received: a dict"),
        (X_VAL, "Received: a ndarray"),
        ((X_VAL,), r"Received: a tuple \['ndarray'\]"),
        ((X_VAL, Y_VAL, None, None), "Received: a tuple"),
        (generator((X_VAL, Y_VAL)), "than there are. Received: <generator"),
        (generator((X_VAL,)), "Received: a tuple of length 1"),
    ],
)
def test_says_what_data_it_takes(data, message):
    model = make_model("auto_lambda")
    with pytest.raises(ValueError, match=message):
        fit(model, 3, validation_for_weighting=data)


@pytest.mark.any_backend
def test_refuses_loops_of_ones_own():
    from keras_mtl.training.loop import loop_of

    with pytest.raises(ValueError, match="needs no validation data"):
        loop_of(AutoLambda())
