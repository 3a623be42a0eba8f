"""A small network of each architecture, and its forward pass in NumPy."""

import keras
import numpy as np

import keras_mtl
from keras_mtl import architectures
from tests.models.numpy_layers import relu
from tests.models.numpy_layers import softmax
from tests.models.numpy_layers import weights

TASKS = ["b", "a", "c"]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4)).astype("float32")
Y = {task: RNG.normal(size=(6, 1)).astype("float32") for task in TASKS}
# How many parameters an expert and a head have.
EXPERT, HEAD = 4 * 3 + 3, 3 + 1


def expert(name):
    return keras.layers.Dense(3, "relu", name=name)


def square(name):
    """An expert whose output may be the input of another one."""
    return keras.layers.Dense(4, "relu", name=name)


def linear(name):
    return keras.layers.Dense(4, name=name)


NETWORKS = {
    "hard_parameter_sharing": lambda x: architectures.hard_parameter_sharing(
        x, TASKS, expert
    ),
    "mmoe": lambda x: architectures.mmoe(x, TASKS, expert, num_experts=2),
    "cgc": lambda x: architectures.cgc(
        x, TASKS, expert, num_experts=1, num_shared=2
    ),
    "ple": lambda x: architectures.ple(
        x, TASKS, [square, expert], levels=2, num_experts=2, num_shared=1
    ),
    "cross_stitch": lambda x: architectures.cross_stitch(
        x, TASKS, [square, expert], levels=2
    ),
    "dselect_k": lambda x: architectures.dselect_k(
        x, TASKS, expert, num_experts=3, k=2
    ),
    "film": lambda x: architectures.film(x, TASKS, linear, levels=2),
    "learning_to_branch": lambda x: architectures.learning_to_branch(
        x, TASKS, [square, expert], levels=2, num_experts=2, seed=0
    ),
}


def model_of(name):
    """Returns a model with a linear head for each task."""
    x = keras.Input((4,), name="x")
    features = NETWORKS[name](x)
    outputs = {
        task: keras.layers.Dense(1, name=task)(h)
        for task, h in features.items()
    }
    return keras_mtl.MultiTaskModel(x, outputs)


class Forward:
    """The forward passes, from the formulas of the papers."""

    def __init__(self, model):
        self.model = model

    def expert(self, name, x):
        return relu(self.linear(name, x))

    def linear(self, name, x):
        kernel, bias = weights(self.model, name)
        return x @ kernel + bias

    def mixed(self, name, x, experts):
        (kernel,) = weights(self.model, f"{name}_gate")
        return self.sum(softmax(x @ kernel), experts)

    def sum(self, gates, experts):
        assert gates.shape[1] == len(experts)
        return sum(gates[:, i, None] * y for i, y in enumerate(experts))

    def several(self, name, x, count):
        return [self.expert(f"{name}_{i}", x) for i in range(count)]

    def hard_parameter_sharing(self, x):
        h = self.expert("hard_parameter_sharing_expert", x)
        return dict.fromkeys(TASKS, h)

    def mmoe(self, x):
        experts = self.several("mmoe_expert", x, 2)
        return {t: self.mixed(f"mmoe_{t}", x, experts) for t in TASKS}

    def cgc(self, x):
        shared = self.several("cgc_shared_expert", x, 2)
        return {
            t: self.mixed(
                f"cgc_{t}", x, self.several(f"cgc_{t}_expert", x, 1) + shared
            )
            for t in TASKS
        }

    def ple(self, x):
        shared = self.several("ple_0_shared_expert", x, 1)
        own = {t: self.several(f"ple_0_{t}_expert", x, 2) for t in TASKS}
        h = {t: self.mixed(f"ple_0_{t}", x, own[t] + shared) for t in TASKS}
        everything = [y for t in TASKS for y in own[t]] + shared
        of_all = self.mixed("ple_0_shared", x, everything)
        shared = self.several("ple_1_shared_expert", of_all, 1)
        own = {t: self.several(f"ple_1_{t}_expert", h[t], 2) for t in TASKS}
        return {t: self.mixed(f"ple_1_{t}", h[t], own[t] + shared) for t in h}

    def cross_stitch(self, x):
        features = dict.fromkeys(TASKS, x)
        for level in ("cross_stitch_0", "cross_stitch_1"):
            made = np.stack(
                [self.expert(f"{level}_{t}_expert", features[t]) for t in TASKS]
            )
            for task in TASKS:
                (factors,) = weights(self.model, f"{level}_{task}")
                features[task] = np.tensordot(factors[:, 0], made, 1)
        return features

    def dselect_k(self, x):
        experts = self.several("dselect_k_expert", x, 3)
        gates = {t: self.selected(f"dselect_k_{t}_gate", x)[0] for t in TASKS}
        return {t: self.sum(gates[t], experts) for t in TASKS}

    def selected(self, name, x):
        """The gates, and the two losses that the layer adds."""
        kernel, mixture_kernel, bias, mixture_bias = weights(self.model, name)
        gates, entropy, excess = np.zeros((len(x), 3)), 0.0, 0.0
        for i, row in enumerate(x):
            shares = softmax(row @ mixture_kernel + mixture_bias)
            bits = (row @ kernel + bias).reshape(2, 2)
            for share, (high, low) in zip(shares, smooth_step(bits)):
                # The codes of the experts are 00, 01 and 10.
                chances = np.array(
                    [
                        (1 - high) * (1 - low),
                        (1 - high) * low,
                        high * (1 - low),
                    ]
                )
                gates[i] += share * chances
                entropy -= np.sum(chances * np.log(chances + 1e-6))
                excess += 1 / max(chances.sum(), 1e-6) - 1
        return gates, entropy / len(x), excess / len(x)

    def film(self, x):
        features = dict.fromkeys(TASKS, x)
        for level in ("film_0", "film_1"):
            for task in TASKS:
                gamma, beta = weights(self.model, f"{level}_{task}")
                h = self.linear(f"{level}_expert", features[task])
                features[task] = relu(gamma * h + beta)
        return features

    def learning_to_branch(self, x):
        blocks = self.several("learning_to_branch_0_expert", x, 2)
        blocks = [
            self.expert(
                f"learning_to_branch_1_expert_{j}",
                blocks[self.chosen(f"1_choice_{j}")],
            )
            for j in range(2)
        ]
        return {task: blocks[self.chosen(task)] for task in TASKS}

    def chosen(self, name):
        logits, _ = weights(self.model, f"learning_to_branch_{name}")
        return int(np.argmax(logits))


def smooth_step(x):
    """Equation 3 of DSelect-k with gamma = 1."""
    inside = -2 * x**3 + 1.5 * x + 0.5
    return np.where(x <= -0.5, 0, np.where(x >= 0.5, 1, inside))


def forward(name, model, x):
    """Returns the outputs of the model in float64."""
    passes = Forward(model)
    features = getattr(passes, name)(np.float64(x))
    return {t: passes.linear(t, h) for t, h in features.items()}


# The number of parameters that tasks share, and that the task "a" has alone.
SHARED_AND_OWN = {
    "hard_parameter_sharing": (EXPERT, HEAD),
    "mmoe": (2 * EXPERT, HEAD + 4 * 2),
    "cgc": (2 * EXPERT, HEAD + EXPERT + 4 * 3),
    # The gates of the first level have 3 experts, that of all tasks 7; the
    # second level has one shared expert.
    "ple": (7 * 20 + 4 * 7 + EXPERT, HEAD + 4 * 3 + 2 * EXPERT + 4 * 3),
    "cross_stitch": (3 * 20 + 3 * 3 + 3 * EXPERT, HEAD + 3),
    "dselect_k": (3 * EXPERT, HEAD + (4 + 1) * (2 * 2 + 2)),
    "film": (2 * 20, 5 + 2 * (2 * 4)),
    "learning_to_branch": (2 * 20 + 2 * 2 + 2 * EXPERT, HEAD + 2),
}
