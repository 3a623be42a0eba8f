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
# # Distillation: soft and hard targets on one output
#
# **Description:** A small network learns from a large one and from a few labels
# at once: two tasks on the same output.<br>
# **Runs on:** TensorFlow, JAX and PyTorch; half a minute on two CPU
# cores.<br>
# **Install:** `pip install -e ".[demo,datasets]" jupyter` in a clone of the
# repository.

# %% [markdown]
# ## Introduction
#
# A *teacher* knows a task well, but is too large, or may not leave the place
# where it was trained. A small *student* is to replace it. It has
#
# - **hard** targets: labels, of which there are few;
# - **soft** targets: the teacher's probabilities, for every image, labelled or
#   not ([Hinton et al., 2015](https://arxiv.org/abs/1503.02531)). They tell
#   which wrong answers are nearly right.
#
# Both are losses on the same output. In `keras_mtl` that is one tensor with two
# names, and each name is a task.

# %% [markdown]
# ## Setup

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", "torch"

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers
from keras import ops
from sklearn.datasets import load_digits

import keras_mtl

# %% tags=["parameters"]
epochs = 40
seeds = [0, 1, 2]
weightings = ["equal", "uncertainty", "nash_mtl"]

# %% [markdown]
# ## The data
#
# Handwritten digits of 8 × 8 pixels, which come with scikit-learn. The teacher
# sees 600 of them with labels. The student sees 700 others, of which 70 have a
# label: a label that is NaN is missing.

# %%
digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))
images = np.float32(digits.images.reshape(-1, 64) / 16)[order]
labels = np.float32(digits.target)[order]

for_teacher, for_student, for_test = np.split(
    np.arange(len(order)), [600, 1300]
)
known = labels[for_student].copy()
known[70:] = np.nan
print(len(for_teacher), len(for_student), len(for_test))

# %% [markdown]
# ## The teacher


# %%
def network(units):
    return keras.Sequential(
        [
            keras.Input((64,)),
            *[layers.Dense(n, "relu") for n in units],
            layers.Dense(10),
        ]
    )


keras.utils.set_random_seed(0)
teacher = network([256, 256])
teacher.compile(
    "adam",
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
teacher.fit(images[for_teacher], labels[for_teacher], epochs=epochs, verbose=0)


def accuracy(model, part=for_test):
    logits = model.predict(images[part], verbose=0)
    if isinstance(logits, dict):
        logits = logits["hard"]
    return (logits.argmax(axis=-1) == labels[part]).mean()


print(f"{teacher.count_params():,} parameters")
print(f"right in {accuracy(teacher):.1%} of the test images")

# %% [markdown]
# The soft targets are its probabilities at a temperature of 4, at which the
# wrong answers are seen:

# %%
TEMPERATURE = 4.0

logits = teacher.predict(images[for_student], verbose=0) / TEMPERATURE
soft = ops.convert_to_numpy(ops.softmax(logits))

figure, axes = plt.subplots(2, 4, figsize=(9, 3), layout="constrained")
unsure = np.argsort(soft.max(axis=-1))[:4]
for i, (above, below) in zip(unsure, axes.T):
    above.imshow(images[for_student][i].reshape(8, 8), cmap="gray_r")
    above.set(xticks=[], yticks=[])
    below.bar(range(10), soft[i])
    below.set(xticks=range(10), ylim=(0, 0.6))
plt.show()

# %% [markdown]
# ## The student
#
# One tensor, two names. Each loss takes the logits as it wants them: the soft
# one at the teacher's temperature. Its gradients shrink with the square of the
# temperature, and Hinton multiplies them by that.


# %%
def soft_loss(y_true, y_pred):
    return TEMPERATURE**2 * keras.losses.categorical_crossentropy(
        y_true, y_pred / TEMPERATURE, from_logits=True
    )


LOSSES = {
    "hard": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "soft": soft_loss,
}
TARGETS = {"hard": known, "soft": soft}


def train_student(seed, weighting):
    keras.utils.set_random_seed(seed)
    student = network([24])
    logits = student.outputs[0]
    model = keras_mtl.MultiTaskModel(
        student.inputs, dict.fromkeys(LOSSES, logits)
    )
    model.compile(
        keras.optimizers.Adam(3e-3),
        loss=LOSSES,
        weighting=weighting,
    )
    history = model.fit(
        images[for_student],
        TARGETS,
        batch_size=64,
        epochs=epochs,
        verbose=0,
    )
    return model, history


print(f"{network([24]).count_params():,} parameters")

# %% [markdown]
# Each kind of target alone, by fixed weights, and both, with several
# weightings:

# %%
settings = {
    "hard alone": {"hard": 1.0, "soft": 0.0},
    "soft alone": {"hard": 0.0, "soft": 1.0},
    **{f"both, {name}": name for name in weightings},
}
scores, histories = {}, {}
for name, weighting in settings.items():
    trained = [train_student(seed, weighting) for seed in seeds]
    scores[name] = [accuracy(model) for model, _ in trained]
    histories[name] = trained[-1][1]
    mean, std = np.mean(scores[name]), np.std(scores[name])
    print(f"{name:18} {mean:.1%} ± {std:.1%}")

# %% [markdown]
# With 70 labels alone, the student is right in four of five images. The
# teacher's answers, which are there for all 700, bring it close to the teacher,
# with a fiftieth of its parameters. The labels add nothing to that here: equal
# weights and Nash-MTL are as good as the soft targets alone, within the spread.
#
# `uncertainty` is much worse. It divides by the losses, and takes the larger
# one for the noisier one. But the soft loss stays large although nothing is
# wrong: a cross entropy with soft targets ends at their entropy, here times 16.
# The hard loss of 70 known labels goes to 0, and gets nearly all of the weight.
# A Kullback-Leibler divergence (`keras.losses.KLDivergence`) ends at 0, but a
# weighting by losses would still follow the task that is easier to learn by
# heart.
