"""The same training on one device, on several, and on several machines.

All devices of this machine, or two made of its CPU:

    python distributed.py
    python distributed.py --cpu-devices 2
    KERAS_BACKEND=jax python distributed.py --cpu-devices 2
    KERAS_BACKEND=torch python distributed.py --cpu-devices 2

Two workers of TensorFlow, here on one machine; each prints the same:

    export ADDRESSES='"localhost:21001", "localhost:21002"'
    for i in 0 1; do
        TF_CONFIG='{"cluster": {"worker": ['$ADDRESSES']},
            "task": {"type": "worker", "index": '$i'}}' python distributed.py &
    done; wait

Processes of PyTorch, with Keras 3.16, on each machine one for each device:

    KERAS_BACKEND=torch torchrun --nproc-per-node 2 distributed.py

What is printed does not depend on the devices, but for rounding, and with
PyTorch for the order of the examples, of which each process shuffles its own.
"""

import argparse
import atexit
import contextlib
import os
import subprocess
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--cpu-devices", type=int, help="devices made of the CPU")
parser.add_argument("--weighting", default="nash_mtl")
parser.add_argument("--examples", type=int, default=4096)
parser.add_argument(
    "--batch-size", type=int, default=256, help="of all devices"
)
parser.add_argument("--epochs", type=int, default=5)
args = parser.parse_args()

import keras
import numpy as np

import keras_mtl


def distribute_on_tensorflow():
    import tensorflow as tf

    if "TF_CONFIG" in os.environ:
        return tf.distribute.MultiWorkerMirroredStrategy().scope()
    if not args.cpu_devices:
        return tf.distribute.MirroredStrategy().scope()
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * args.cpu_devices,
    )
    names = [f"CPU:{i}" for i in range(args.cpu_devices)]
    return tf.distribute.MirroredStrategy(names).scope()


def distribute_on_jax():
    kind = None
    if args.cpu_devices:
        kind = "cpu"
        os.environ["XLA_FLAGS"] = (
            os.environ.get("XLA_FLAGS", "")
            + f" --xla_force_host_platform_device_count={args.cpu_devices}"
        )
    devices = keras.distribution.list_devices(kind)
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices)
    )
    return contextlib.nullcontext()


def distribute_on_torch():
    if "WORLD_SIZE" not in os.environ and args.cpu_devices:
        run = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        run += ["--nproc-per-node", str(args.cpu_devices), *sys.argv]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        sys.exit(subprocess.run(run, env=environment).returncode)
    if "WORLD_SIZE" in os.environ:
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group()
        atexit.register(torch.distributed.destroy_process_group)
    return contextlib.nullcontext()


def rank_and_size():
    """Returns which process of PyTorch this is, and how many there are."""
    if backend != "torch" or "WORLD_SIZE" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


# Before anything is computed.
backend = keras.backend.backend()
scope = {
    "tensorflow": distribute_on_tensorflow,
    "jax": distribute_on_jax,
    "torch": distribute_on_torch,
}[backend]()
rank, size = rank_and_size()

# The same everywhere: the workers must shuffle in the same order.
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x = rng.normal(size=(args.examples, 16)).astype("float32")
hidden = np.tanh(x @ rng.normal(size=(16, 4)))
y = {
    "price": hidden @ rng.normal(size=(4, 1)),
    "area": 10 * hidden @ rng.normal(size=(4, 1)),
    "sold": hidden[:, :1] > 0,
}
y = {task: labels.astype("float32") for task, labels in y.items()}

with scope:
    inputs = keras.Input((16,))
    features = keras.layers.Dense(64, activation="relu")(inputs)
    features = keras.layers.Dense(64, activation="relu")(features)
    outputs = {
        "price": keras.layers.Dense(1)(features),
        "area": keras.layers.Dense(1)(features),
        "sold": keras.layers.Dense(1, activation="sigmoid")(features),
    }
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile(
        keras.optimizers.Adam(1e-3),
        loss={"price": "mse", "area": "mse", "sold": "binary_crossentropy"},
        weighting=args.weighting,
    )

# Each process of PyTorch takes its own examples; elsewhere Keras divides them.
x, y = x[rank::size], {task: labels[rank::size] for task, labels in y.items()}
history = model.fit(
    x, y, batch_size=args.batch_size // size, epochs=args.epochs, verbose=0
).history
for name in history if rank == 0 else ():
    print(name, *(f"{value:.4g}" for value in history[name]))
