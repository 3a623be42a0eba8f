# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Production: checkpoint, kill, resume, export, serve
#
# **Description:** A training that survives the kill of its process, and a
# model that is served where there is neither Keras nor `keras_mtl`.<br>
# **Runs on:** TensorFlow, JAX and PyTorch; about one minute on two CPU
# cores.<br>
# **Install:** `pip install -e ".[demo]" jupyter` in a clone of the repository.

# %% [markdown]
# ## Introduction
#
# A long training does not end where it began: the machine is taken back, the
# job runs out of its time, the memory is full. What goes on after that should
# be the same training, not one that resembles it. That takes more than the
# parameters: what the optimizer remembers of the gradients, what the weighting
# remembers of the losses (a *weighting* computes in every step how much each
# task counts), the random numbers of dropout, and the order of the batches all
# decide on the next step.
#
# This notebook trains four properties of molecules in a process of its own,
# kills that process in the middle of an epoch, starts it again, and compares
# the end with that of a training that nothing disturbed. Then it exports the
# model and asks it from a program that has TensorFlow alone.

# %% [markdown]
# ## Setup

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", "torch"

import json
import pathlib
import shutil
import subprocess
import sys

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers

import keras_mtl
from keras_mtl.datasets import qm9

# %% tags=["parameters"]
tasks = ["mu", "homo", "r2", "zpve"]
molecules = 2000
epochs = 10
kill_in_epoch = 5

# %%
folder = pathlib.Path("../saved_models/production")
shutil.rmtree(folder, ignore_errors=True)
folder.mkdir(parents=True)

# %% [markdown]
# ## The training script
#
# Two lines make a training that can be killed:
#
# - `keras_mtl.callbacks.BackupAndRestore` saves everything after each epoch,
#   and restores it if a process before this one did not come to its end. A
#   replacement of one small file makes a backup the valid one, so that a kill
#   while it is written leaves the one before.
# - `keras_mtl.datasets.ShuffledBatches` shuffles by the seed and the number of
#   the epoch, so that epoch 7 has the same batches whether or not the process
#   began with it. A `TaskSampler` does so by itself.
#
# The script has no option to resume. Whoever runs it, a person or a scheduler
# of jobs, gives the same command again.

# %%
TRAIN = """\
import json
import pathlib
import sys

import keras

import keras_mtl
from keras_mtl.datasets import qm9
from keras_mtl.models import message_passing

folder, settings = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
tasks = settings["tasks"]
keras.utils.set_random_seed(0)

train, validation, _, _ = qm9.load_data(settings["molecules"])


def choose(split):
    return split[0], {task: split[1][task] for task in tasks}


model = keras_mtl.MultiTaskModel(*message_passing(tasks))
model.compile(
    keras.optimizers.Adam(2e-3),
    loss={task: "mse" for task in tasks},
    weighting=["igb_v1", keras_mtl.weightings.NashMTL(gradients="features")],
)

batches = keras_mtl.datasets.ShuffledBatches(
    *choose(train), batch_size=64, seed=1
)
backup = keras_mtl.callbacks.BackupAndRestore(folder / "backup")
report = keras.callbacks.LambdaCallback(
    on_epoch_begin=lambda epoch, logs: print("epoch", epoch + 1, flush=True)
)
history = model.fit(
    batches,
    epochs=settings["epochs"],
    validation_data=choose(validation),
    callbacks=[backup, report],
    verbose=0,
)

model.save(folder / "model.keras")
(folder / "history.json").write_text(json.dumps(history.history))
print("done", flush=True)
"""

script = folder / "train.py"
with open(script, "w") as file:
    file.write(TRAIN)

# %% [markdown]
# The notebook starts it, reads what it prints, and kills it when it begins an
# epoch, if it is told to. `kill` sends SIGKILL, which no process can handle:
# nothing is saved at the last moment.


# %%
settings = {"tasks": tasks, "molecules": molecules, "epochs": epochs}


def train(name, kill_in=None):
    """Runs the script and returns the epochs that it began."""
    begun = []
    (folder / name).mkdir(exist_ok=True)
    with subprocess.Popen(
        [sys.executable, script, folder / name, json.dumps(settings)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout:
            if line.startswith("epoch"):
                begun.append(int(line.split()[1]))
                if begun[-1] == kill_in:
                    process.kill()
            elif line.startswith("done"):
                begun.append("done")
    return begun


# %% [markdown]
# ## Killed, and started again

# %%
print(train("killed", kill_in=kill_in_epoch))

# %% [markdown]
# What is left are a few files. The weights are those at the end of the last
# whole epoch, with the optimizer, the weighting and the random numbers; the
# metadata name them and hold the history.

# %%
backup = folder / "killed" / "backup"
if backup.exists():
    for path in sorted(backup.iterdir()):
        print(f"{path.name:24} {path.stat().st_size:9,} bytes")
    metadata = json.loads((backup / "training_metadata.json").read_text())
    print(f"epochs done: {metadata['epoch']}")

# %% [markdown]
# The same command again:

# %%
print(train("killed"))

# %% [markdown]
# ## A training that nothing disturbed

# %%
print(train("whole"))

# %%
histories = {
    name: json.loads((folder / name / "history.json").read_text())
    for name in ("killed", "whole")
}
models = {
    name: keras.saving.load_model(folder / name / "model.keras")
    for name in histories
}


def largest_difference(values, others):
    differences = [
        np.max(np.abs(np.asarray(a) - np.asarray(b)), initial=0.0)
        for a, b in zip(values, others, strict=True)
    ]
    return max(differences)


def arrays(variables):
    return [keras.ops.convert_to_numpy(v) for v in variables]


killed, whole = models["killed"], models["whole"]
print("largest difference")
for what, values, others in [
    (
        "of the history",
        histories["killed"].values(),
        histories["whole"].values(),
    ),
    ("of the parameters", arrays(killed.weights), arrays(whole.weights)),
    (
        "of the optimizer",
        arrays(killed.optimizer.variables),
        arrays(whole.optimizer.variables),
    ),
    (
        "of the weighting",
        arrays(killed.weighting.variables),
        arrays(whole.weighting.variables),
    ),
]:
    print(f"{what:18} {largest_difference(values, others):.1e}")

# %% [markdown]
# The history of the second process begins with the epochs of the first, so that
# a plot of it needs no gluing:

# %%
curves = {
    f"killed in epoch {kill_in_epoch}": histories["killed"],
    "not disturbed": histories["whole"],
}
for plot in (keras_mtl.plots.task_losses, keras_mtl.plots.task_weights):
    axes = plot(curves, tasks=tasks)
    # Where it was killed, and started again.
    axes[0].axvline(kill_in_epoch - 0.5, color="gray", linestyle=":")
    plt.show()

# %% [markdown]
# The lines are the same to the last digit; the dotted line is where the process
# was killed.
#
# A file that is cut short, from a disk that was full, say, is not taken for a
# checkpoint:

# %%
cut = folder / "cut.weights.h5"
whole.save_weights(cut)
cut.write_bytes(cut.read_bytes()[:10_000])
try:
    whole.load_weights(cut)
except ValueError as error:
    print(type(error).__name__, error, sep=": ")

# %% [markdown]
# ## Exporting
#
# The network has learned targets of zero mean and unit variance. Whoever asks
# it wants units, and should not need the statistics of the training data. So
# they become part of what is exported: a layer after each output.
#
# Keras writes SavedModels from TensorFlow and JAX. From PyTorch, the `.keras`
# file goes to a process with TensorFlow, which exports it.

# %%
_, _, test, statistics = qm9.load_data(molecules)

in_units = keras_mtl.MultiTaskModel(
    whole.input,
    {
        task: layers.Rescaling(
            statistics[task].std, statistics[task].mean, name=f"{task}_unit"
        )(output)
        for task, output in whole.output.items()
    },
)
in_units.save(folder / "in_units.keras")
if keras.backend.backend() == "torch":
    code = (
        "import sys, keras, keras_mtl\n"
        "model = keras.saving.load_model(sys.argv[1])\n"
        "model.export(sys.argv[2], verbose=False)"
    )
    subprocess.run(
        [
            *(sys.executable, "-c", code),
            *(folder / "in_units.keras", folder / "served"),
        ],
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
else:
    in_units.export(folder / "served", verbose=False)
print(sorted(path.name for path in (folder / "served").iterdir()))

# %% [markdown]
# ## Serving
#
# The program that serves has TensorFlow, and nothing else of all this. The
# number of molecules is free.

# %%
SERVE = """\
import sys

import numpy as np
import tensorflow as tf

served = tf.saved_model.load(sys.argv[1])
with np.load(sys.argv[2]) as file:
    molecules = {name: tf.constant(file[name]) for name in file.files}
answers = served.serve(molecules)
np.savez(sys.argv[3], **{task: x.numpy() for task, x in answers.items()})
print("keras_mtl imported:", "keras_mtl" in sys.modules)
print("some molecules:", molecules["atoms"].shape[0])
one = {name: x[:1] for name, x in molecules.items()}
print("one molecule:", {
    task: round(x.numpy().item(), 3)
    for task, x in sorted(served.serve(one).items())
})
"""

server = folder / "serve.py"
with open(server, "w") as file:
    file.write(SERVE)

questions, answers = folder / "questions.npz", folder / "answers.npz"
np.savez(questions, **test[0])
done = subprocess.run(
    [sys.executable, server, folder / "served", questions, answers],
    stdout=subprocess.PIPE,
    text=True,
    check=True,
)
print(done.stdout)

# %% [markdown]
# The answers are those of the model in Keras:

# %%
expected = in_units.predict(test[0], verbose=0)
with np.load(answers) as file:
    for task in tasks:
        std = statistics[task].std
        difference = np.max(np.abs(file[task] - expected[task])) / std
        truth = test[1][task].reshape(-1, 1) * std + statistics[task].mean
        error = np.mean(np.abs(file[task] - truth))
        print(
            f"{task:5} differs by {difference:.0e} standard deviations; "
            f"mean absolute error {error:.3g} {statistics[task].unit}"
        )

# %% [markdown]
# ## Where to go from here
#
# - docs/resuming.md says what is restored and what is
#   not (a backup within an epoch, `EarlyStopping`, data sets of your own).
# - `model.export("model.onnx", format="onnx")` writes for ONNX Runtime, on each
#   backend; `export(..., preprocessor=...)` puts a KerasHub preprocessor before
#   the network, so that the served model takes strings.
# - [distributed.py](distributed.py) is the same on several devices or machines.
