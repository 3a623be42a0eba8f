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
from keras_mtl.backend import keras_internals
from keras_mtl.losses import over_replicas as whole_batch
from tests import distributed_training

BACKEND = keras.backend.backend()
ROOT = pathlib.Path(__file__).parents[1]
KINDS = {"tensorflow": "mirrored", "jax": "jax", "torch": "processes"}
KIND = KINDS[BACKEND]
# What the network, the state of the weighting and the history may differ by,
# relative to 1 or their own size.
TOLERANCE = 1e-5

CAN_DISTRIBUTE = BACKEND != "torch" or keras_internals.HAS_TORCH_DISTRIBUTION

needs_distribution = pytest.mark.skipif(
    not CAN_DISTRIBUTE, reason="this version of Keras trains in one process"
)
needs_torch = pytest.mark.skipif(
    BACKEND != "torch", reason="the processes of PyTorch"
)
needs_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="a strategy of TensorFlow"
)
WORKER_CASES = ["pcgrad/features", "uncertainty", "graddrop/parameters"]


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
    cases = chosen_cases(request)
    if KIND == "processes":
        folder = tmp_path_factory.mktemp("processes")
        return of_two_processes(folder, cases)
    path = tmp_path_factory.mktemp("distributed") / "results.json"
    return results_of(start(KIND, path, *cases), path)


def chosen_cases(request, test="test_two_devices_train_as_one"):
    """Lists the cases of the tests that run, in the order of their names."""
    return sorted(
        item.callspec.params["case"]
        for item in request.session.items
        if getattr(item, "originalname", "") == test
    )


def of_two_processes(folder, cases):
    """Returns what two processes come to, and compares them."""
    paths = [folder / f"{rank}.json" for rank in range(2)]
    shared = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free_ports(1)[0])}
    shared["WORLD_SIZE"] = "2"
    processes = [
        start(KIND, path, *cases, **shared, RANK=str(rank))
        for rank, path in enumerate(paths)
    ]
    first, second = map(results_of, processes, paths)
    for case, result in first.items():
        for name in ("network", "history"):
            assert result[name] == second[case][name], (case, name)
        result["states"] += second[case]["states"]
    return first


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def workers(tmp_path_factory, request):
    """The results of two processes, each a worker."""
    cases = chosen_cases(request, "test_two_workers_train_as_one_device")
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    folder = tmp_path_factory.mktemp("workers")
    paths = [folder / f"{i}.json" for i in range(2)]
    processes = []
    for i, path in enumerate(paths):
        task = {"type": "worker", "index": i}
        config = {"cluster": {"worker": addresses}, "task": task}
        processes.append(
            start("workers", path, *cases, TF_CONFIG=json.dumps(config))
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


@needs_distribution
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


@pytest.fixture
def process_group(tmp_path):
    """A group of one process, which others may say to be two."""
    from torch import distributed

    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


@needs_torch
def test_what_does_not_train_in_several_processes(process_group, monkeypatch):
    from torch import distributed

    model = distributed_training.make_model()
    model.compile("sgd", loss="mse")
    x, y = distributed_training.make_data(4)
    model.fit(x, y, verbose=0)
    monkeypatch.setattr(distributed, "get_world_size", lambda group=None: 2)
    data = {task: (x, labels) for task, labels in y.items()}
    sampler = keras_mtl.selection.TaskSampler(data, "uniform", batch_size=2)
    with pytest.raises(ValueError, match="one device and one process"):
        model.fit(sampler, verbose=0)
    if not CAN_DISTRIBUTE:
        with pytest.raises(ValueError, match="one process: call `torch.dis"):
            model.compile("sgd", loss="mse")
            model.fit(x, y, verbose=0)


@needs_tensorflow
@pytest.mark.slow
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


@needs_distribution
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
