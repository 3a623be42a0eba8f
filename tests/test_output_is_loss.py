"""Tasks whose output is their loss, for which no label is asked."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_mtl
from keras_mtl.losses import OutputIsLoss
from tests import utils

RNG = np.random.default_rng(9)
BATCH = 8
X = RNG.normal(size=(BATCH, 3)).astype("float32")
Y = {"a": RNG.normal(size=(BATCH, 1)).astype("float32")}
LOSS = {"a": "mse", "kl": OutputIsLoss()}
WEIGHTS = RNG.uniform(size=BATCH).astype("float32")


@keras.saving.register_keras_serializable(package="keras_mtl_tests")
class Divergence(layers.Layer):
    """The divergence of a normal distribution from the standard one."""

    def __init__(self, form="example", **kwargs):
        super().__init__(**kwargs)
        self.form = form

    def call(self, inputs):
        mean, log_variance = ops.split(inputs, 2, axis=-1)
        kl = 0.5 * (mean**2 + ops.exp(log_variance) - log_variance - 1.0)
        if self.form == "entry":
            return kl
        kl = ops.mean(kl, axis=-1)
        return ops.mean(kl) if self.form == "scalar" else kl

    def get_config(self):
        return {**super().get_config(), "form": self.form}


def build(form="example", **options):
    keras.utils.set_random_seed(4)
    x = keras.Input((3,))
    h = layers.Dense(4)(x)
    outputs = {"a": layers.Dense(1)(h), "kl": Divergence(form)(h)}
    model = keras_mtl.MultiTaskModel(x, outputs)
    options = {"loss": LOSS, "weighting": "equal", **utils.QUICKEST, **options}
    model.compile(keras.optimizers.SGD(0.1), **options)
    return model


def divergences(model):
    """Computes the divergence of each example in float64."""
    kernel, bias = map(np.float64, model.layers[1].get_weights())
    mean, log_variance = np.split(X @ kernel + bias, 2, axis=-1)
    kl = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1.0)
    return kl.mean(axis=-1)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("form", ["scalar", "example", "entry"])
def test_the_loss_is_the_mean_of_the_output(form):
    model = build(form, weighting="uncertainty")
    expected = divergences(model).mean()
    logs = model.evaluate(X, Y, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["kl_loss"], expected, 1e-5)
    logs = model.train_on_batch(X, Y, return_dict=True)
    np.testing.assert_allclose(logs["kl_loss"], expected, 1e-5)
    np.testing.assert_allclose(logs["loss"], logs["a_loss"] + expected, 1e-5)


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("weighting", ["sum", "equal"])
def test_sample_weights_factors_and_gradients(weighting):
    model = build("entry", weighting=weighting, loss_weights={"kl": 0.5})
    weighted = (WEIGHTS * divergences(model)).mean()

    def squared_error(y_true, y_pred):
        return ops.mean((y_true - y_pred) ** 2)

    def weighted_mean(_, y_pred):
        return 0.5 * ops.mean(
            ops.convert_to_tensor(WEIGHTS) * ops.mean(y_pred, axis=-1)
        )

    losses = {"a": squared_error, "kl": weighted_mean}
    labels = {"a": ops.convert_to_tensor(Y["a"]), "kl": None}
    rows = utils.task_gradients(model, X, labels, losses)
    before = utils.arrays(model.trainable_variables)
    sample_weight = {"a": None, "kl": WEIGHTS}
    logs = model.train_on_batch(X, Y, sample_weight, return_dict=True)
    np.testing.assert_allclose(logs["kl_loss"], weighted, 1e-5)
    after = utils.arrays(model.trainable_variables)
    for i, (start, end) in enumerate(zip(before, after)):
        gradient = sum(r[i] for r in rows.values() if r[i] is not None)
        np.testing.assert_allclose((start - end) / 0.1, gradient, 1e-4, 1e-5)


class Batches(keras.utils.PyDataset):
    def __init__(self, *data):
        super().__init__()
        self.data = data

    def __len__(self):
        return 2

    def __getitem__(self, index):
        part = slice(4 * index, 4 * index + 4)
        return keras.tree.map_structure(lambda array: array[part], self.data)


def tf_data(*data):
    tf = pytest.importorskip("tensorflow")
    if len(data) == 1:
        return tf.data.Dataset.from_tensor_slices(data[0]).batch(4)
    return tf.data.Dataset.from_tensor_slices(data).batch(4)


def data_loader(*data):
    torch = pytest.importorskip("torch")
    examples = [
        keras.tree.map_structure(lambda array, i=i: array[i], data)
        for i in range(BATCH)
    ]
    return torch.utils.data.DataLoader(examples, batch_size=4)


def generator(*data):
    batches = Batches(*data)
    return (batches[i] for i in range(2))


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("kind", [Batches, tf_data, data_loader, generator])
@pytest.mark.parametrize("data", [(X, Y), (X,)], ids=["labels", "x"])
def test_no_label_is_asked_for(kind, data):
    loss = dict(LOSS)
    if len(data) == 1:
        loss["a"] = OutputIsLoss
    options = dict(shuffle=False, verbose=0)
    expected = build(loss=loss).fit(
        *data, batch_size=4, validation_data=data, **options
    )
    history = build(loss=loss).fit(
        kind(*data), validation_data=kind(*data), **options
    )
    assert history.history.keys() == expected.history.keys()
    for name, values in expected.history.items():
        np.testing.assert_allclose(history.history[name], values, 1e-5)
    logs = build(loss=loss).evaluate(kind(*data), verbose=0)
    assert np.all(np.isfinite(logs))


def test_labels_in_a_list_are_those_of_the_labelled_tasks():
    logs = [build().train_on_batch(X, y) for y in (Y, [Y["a"]])]
    np.testing.assert_array_equal(*logs)


def test_metrics_see_labels_of_zero():
    model = build(metrics={"a": ["mae"], "kl": ["mae", "mse"]})
    expected = divergences(model)
    logs = model.evaluate(X, Y, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["kl_mae"], expected.mean(), 1e-5)
    np.testing.assert_allclose(logs["kl_mse"], (expected**2).mean(), 1e-5)
    assert np.isfinite(logs["a_mae"])


def test_labels_that_are_given_say_where_the_loss_is_missing():
    missing = np.arange(BATCH) % 3 == 0
    model = build(weighting="sum")
    expected = divergences(model)[~missing].mean()
    y = {
        "a": np.where(missing[::-1, None], np.nan, Y["a"]),
        "kl": np.where(missing, np.nan, np.float32(7.0)),
    }
    logs = model.train_on_batch(X, y, return_dict=True)
    np.testing.assert_allclose(logs["kl_loss"], expected, 1e-5)
    assert np.isfinite(logs["loss"])
    logs = build().train_on_batch(X, {"a": y["a"]}, return_dict=True)
    assert np.isfinite(logs["a_loss"])


@pytest.mark.any_backend
def test_it_is_saved(tmp_path):
    model = build(weighting="uncertainty")
    model.train_on_batch(X, Y)
    model.save(tmp_path / "kl.keras")
    loaded = keras.models.load_model(tmp_path / "kl.keras")
    logs = [m.train_on_batch(X, Y) for m in (model, loaded)]
    np.testing.assert_allclose(*logs, rtol=1e-6)


@pytest.mark.any_backend
def test_a_loss_of_the_users_own_may_need_no_labels():
    class Energy(keras.losses.Loss):
        needs_labels = False

        def call(self, y_true, y_pred):
            return y_pred**2

    model = build(loss={"a": "mse", "kl": Energy()})
    expected = (divergences(model) ** 2).mean()
    logs = model.evaluate(X, Y, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["kl_loss"], expected, 1e-5)


def test_the_gramian_without_labels():
    model = build(loss={"kl": OutputIsLoss(), "a": OutputIsLoss()})
    gramian = model.gramian(X)
    assert gramian.shape == (2, 2) and gramian[0, 0] > 0


@pytest.mark.any_backend
def test_labels_of_other_tasks_are_still_asked_for():
    model = build()
    with pytest.raises(ValueError, match=r"labels to be a .*Received: None"):
        model.fit(X, verbose=0)
    with pytest.raises(ValueError, match=r"tasks: \['a'\]. Missing: \['a'\]"):
        model.train_on_batch(X, {})
    with pytest.raises(ValueError, match=r'validation_data=\(x, {"a": ...}\)'):
        model.fit(X, Y, validation_data=(X,), verbose=0)
    with pytest.raises(ValueError, match="keys that are no output: .'b'."):
        model.train_on_batch(X, {**Y, "b": X})
