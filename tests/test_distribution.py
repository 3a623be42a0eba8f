"""Several devices train as one does with the whole batch.

All trainings of a kind run in one process each, whose devices are set up before
anything else; here they run again on one device.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from keras_mtl.losses import over_replicas as whole_batch
from tests import distributed_training

BACKEND = keras.backend.backend()
ROOT = pathlib.Path(__file__).parents[1]
KIND = {"tensorflow": "mirrored", "jax": "jax"}.get(BACKEND)
# What the network, the state of the weighting and the history may differ by,
# relative to 1 or their own size.
TOLERANCE = 1e-5

pytestmark = pytest.mark.skipif(
    KIND is None, reason="`fit` of Keras does not distribute on PyTorch"
)
needs_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="a strategy of TensorFlow"
)
WORKER_CASES = ["uncertainty", "pcgrad/features", "graddrop/parameters"]


def start(kind, path, *cases, **environment):
    module = [sys.executable, "-m", "tests.distributed_training"]
    return subprocess.Popen(
        [*module, kind, str(path), *cases],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": BACKEND, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def results_of(process, path):
    output, _ = process.communicate()
    assert process.returncode == 0, output[-3000:]
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def distributed(tmp_path_factory, request):
    path = tmp_path_factory.mktemp("distributed") / "results.json"
    return results_of(start(KIND, path, *chosen_cases(request)), path)


def chosen_cases(request):
    """Lists the cases of the tests that run, in the order of their names."""
    return sorted(
        item.callspec.params["case"]
        for item in request.session.items
        if getattr(item, "originalname", "") == "test_two_devices_train_as_one"
    )


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """The results of two processes, each a worker."""
    sockets = [socket.socket() for _ in range(2)]
    for each in sockets:
        each.bind(("localhost", 0))
    addresses = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    folder = tmp_path_factory.mktemp("workers")
    paths = [folder / f"{i}.json" for i in range(2)]
    processes = []
    for i, path in enumerate(paths):
        task = {"type": "worker", "index": i}
        config = {"cluster": {"worker": addresses}, "task": task}
        processes.append(
            start("workers", path, *WORKER_CASES, TF_CONFIG=json.dumps(config))
        )
    return [results_of(*pair) for pair in zip(processes, paths)]


def assert_close(actual, expected):
    np.testing.assert_equal(len(actual), len(expected))
    for a, b in zip(actual, expected):
        np.testing.assert_allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE)


def assert_as_on_one_device(result, case, kind):
    sizes = distributed_training.SIZES[kind]
    expected = distributed_training.train(case, *sizes)
    assert_close(result["network"], expected["network"])
    assert_close(result["states"][0], expected["states"][0])
    assert_close(result["gramian"], expected["gramian"])
    assert set(result["history"]) == set(expected["history"])
    for name, values in expected["history"].items():
        assert_close(result["history"][name], values)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            marks=[] if case in distributed_training.FEW else pytest.mark.slow,
        )
        for case in distributed_training.CASES
    ],
)
def test_two_devices_train_as_one(distributed, case):
    result = distributed[case]
    assert len(result["states"]) == 2
    for ours, others in zip(*result["states"]):
        np.testing.assert_array_equal(ours, others)
    assert_as_on_one_device(result, case, KIND)


@needs_tensorflow
@pytest.mark.parametrize("case", WORKER_CASES)
def test_two_workers_train_as_one_device(workers, case):
    first, second = (result[case] for result in workers)
    # One replica each.
    for ours, others in zip(first["states"][0], second["states"][0]):
        np.testing.assert_array_equal(ours, others)
    for worker in (first, second):
        assert_as_on_one_device(worker, case, "workers")


def test_few_cases_are_known():
    assert distributed_training.FEW <= {*distributed_training.CASES}


class OwnCall(keras.losses.MeanSquaredError):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return super().__call__(y_true, y_pred, sample_weight)


@pytest.mark.parametrize(
    "loss", [OwnCall(), keras.losses.MeanSquaredError(reduction=None)]
)
def test_losses_that_do_not_add_up(loss):
    y = np.ones((2, 1), "float32")
    with pytest.raises(ValueError, match="loss of task 'a' is computed in"):
        whole_batch.loss_parts("a", loss, y, y, None, may_miss=False)


@needs_tensorflow
def test_weighting_made_outside_of_the_scope():
    import tensorflow as tf

    # Two logical devices would have to be set up first.
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    outside = keras_mtl.weightings.PCGrad()
    with strategy.scope():
        inputs = keras.Input((2,))
        features = layers.Dense(2)(inputs)
        outputs = {t: layers.Dense(1, name=t)(features) for t in "ab"}
        model = keras_mtl.MultiTaskModel(inputs, outputs)
        inside = keras_mtl.weightings.PCGrad()
        model.compile("sgd", loss="mse", weighting=inside)
        with pytest.raises(ValueError, match="in the `scope\\(\\)` of the"):
            model.compile("sgd", loss="mse", weighting=outside)


@needs_tensorflow
def test_gradient_accumulation():
    import tensorflow as tf

    make_optimizer = distributed_training.OPTIMIZERS["gradient_accumulation"]
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = distributed_training.make_model()
        scaled = keras.optimizers.LossScaleOptimizer(make_optimizer())
        for optimizer in (make_optimizer(), scaled):
            with pytest.raises(ValueError, match="accumulation_steps=2, Mirr"):
                model.compile(optimizer, loss="mse")
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        model = distributed_training.make_model()
        model.compile(make_optimizer(), loss="mse")
    model.fit(*distributed_training.make_data(4), verbose=0)


@pytest.mark.slow
def test_example_on_two_devices():
    options = "--cpu-devices 2 --examples 16 --batch-size 8 --epochs 1".split()
    run = subprocess.run(
        [sys.executable, str(ROOT / "examples/distributed.py"), *options],
        env={**os.environ, "KERAS_BACKEND": BACKEND, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    names = [line.split()[0] for line in run.stdout.splitlines()]
    assert {"loss", "sold_loss", "weight/sold"} <= set(names)
