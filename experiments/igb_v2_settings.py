"""The settings of IGBv2's agent, chosen on two generated problems.

Four tasks share a small network. In the first problem their targets differ in
scale, by up to 1000, in the second in difficulty. The score is Δm (percent, the
lower the better): the mean increase of the tasks' errors on validation data
over those of models of one task each. The controls have no agent: `random` (the
softmax of normal numbers over L) and `uniform` (logits uniform on ±3 over L).

    python experiments/igb_v2_settings.py
    python experiments/igb_v2_settings.py --epochs 2 --seeds 0 --output-dir /tmp

Besides Δm, the table has the standard deviation of log λ over the last third of
the training, between the epochs' last steps, as a mean over the tasks. An agent
that chooses moves the weights; one whose weights are all about 1 does not.

A run that is in `igb_v2_settings.jsonl` is not trained again. The results are
in `igb_v2_settings.json` beside this script.
"""

import argparse
import functools
import itertools
import json
from pathlib import Path

import keras
import numpy as np
from keras import layers
from keras import ops

import keras_mtl
from keras_mtl.agents import noise
from keras_mtl.backend import files
from keras_mtl.backend.numerics import inverse

TASKS = [f"task_{i}" for i in range(4)]
SCALES = [0.1, 1.0, 10.0, 100.0]
FREQUENCIES = [0.5, 1.0, 2.0, 4.0]
BATCH_SIZE = 32
TEMPERATURES = [1.0, 0.2, 0.01, 0.001]
BOUNDS = [1.0, 3.0]


class UniformLogits(keras_mtl.weightings.Weighting):
    """λ / L of logits that are uniform on ±`bound`: IGBv2 without its agent."""

    def __init__(self, bound=3.0, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.bound = bound
        self.seed = seed

    def build_state(self, num_tasks):
        self.steps = self.add_state(dtype="int32", name="steps")
        self.logits = self.add_state((num_tasks,), name="logits")

    def compute_weights(self, losses):
        drawn = noise.integers(
            losses.shape, ops.convert_to_tensor(10000), self.seed, self.steps
        )
        logits = self.bound * (ops.cast(drawn, "float32") / 5000.0 - 1.0)
        self.steps.assign(self.steps + 1)
        self.logits.assign(logits)
        return len(TASKS) * ops.softmax(logits) * inverse(losses)


def generate(problem, seed, size=1920, dimension=16):
    """Returns training and validation data, each a pair of `x` and `y`."""
    rng = np.random.default_rng([seed, ["scale", "difficulty"].index(problem)])
    mixing = rng.normal(size=(dimension, 32)) / np.sqrt(dimension)
    readouts = rng.normal(size=(32, len(TASKS))) / np.sqrt(32)
    directions = rng.normal(size=(dimension, len(TASKS)))
    directions /= np.linalg.norm(directions, axis=0)

    def draw(size):
        x = rng.normal(size=(size, dimension))
        if problem == "scale":
            targets = np.tanh(2 * x @ mixing) @ readouts * SCALES
            spread = np.array(SCALES)
        else:
            targets = np.sin(x @ directions * FREQUENCIES)
            spread = np.ones(len(TASKS))
        targets = targets + 0.05 * spread * rng.normal(size=targets.shape)
        y = np.split(targets.astype("float32"), len(TASKS), axis=1)
        return x.astype("float32"), dict(zip(TASKS, y))

    return draw(size), draw(1000)


def train(problem, seed, epochs, tasks, weighting):
    """Returns the tasks' errors and the standard deviation of log λ."""
    (x, y), (x_test, y_test) = generate(problem, seed)
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((x.shape[1],))
    features = inputs
    for _ in range(2):
        features = layers.Dense(32, activation="relu")(features)
    outputs = {task: layers.Dense(1, name=task)(features) for task in tasks}
    is_single = len(tasks) == 1
    cls = keras.Model if is_single else keras_mtl.MultiTaskModel
    model = cls(inputs, outputs)
    steps = epochs * len(x) // BATCH_SIZE
    # The last learning rate is a sixteenth, the end of the paper's on NYUv2.
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps, alpha=1 / 16)
    options = {} if is_single else {"weighting": weighting}
    model.compile(
        keras.optimizers.Adam(rate), loss=dict.fromkeys(tasks, "mse"), **options
    )
    logits = []
    record = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logits.append(logits_of(model))
    )
    y = {task: y[task] for task in tasks}
    model.fit(
        *(x, y),
        batch_size=BATCH_SIZE,
        epochs=epochs,
        callbacks=[record],
        verbose=0,
    )
    predictions = model.predict(x_test, verbose=0)
    errors = [np.abs(predictions[t] - y_test[t]).mean() for t in tasks]
    last = np.stack(logits[-max(1, epochs // 3) :])
    last = last - np.log(np.exp(last).sum(axis=1, keepdims=True))
    return {
        "errors": [float(error) for error in errors],
        "moves": float(last.std(axis=0).mean()),
    }


def logits_of(model):
    """Returns the logits of λ in the last step, all 0 where it has none."""
    weighting = getattr(model, "weighting", None)
    if isinstance(weighting, keras_mtl.weightings.IGBv2):
        action = ops.convert_to_numpy(weighting.last_action)
        return weighting.logit_bound * action
    logits = getattr(weighting, "logits", None)
    if logits is None:
        return np.zeros(len(model.outputs))
    return ops.convert_to_numpy(logits)


def weightings():
    """Returns a dict of a label and a function that makes the weighting."""
    found = {
        "equal": lambda: "equal",
        "scale_invariant": lambda: "scale_invariant",
        "igb_v1": lambda: "igb_v1",
        "random": lambda: keras_mtl.weightings.Random(
            seed=0, scale_invariant=True
        ),
        "uniform": UniformLogits,
    }
    for temperature, bound in itertools.product(TEMPERATURES, BOUNDS):
        label = f"igb_v2 temperature={temperature:g} bound={bound:g}"

        def make(temperature=temperature, bound=bound):
            return keras_mtl.weightings.IGBv2(
                agent="keras",
                initial_temperature=temperature,
                logit_bound=bound,
                seed=0,
            )

        found[label] = make
    return found


def run_all(arguments):
    """Trains what is not in the log, and returns a dict of all runs."""
    path = arguments.output_dir / "igb_v2_settings.jsonl"
    done = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        entry = json.loads(line)
        done[tuple(entry["run"])] = entry
    jobs = {f"single {task}": ([task], lambda: "equal") for task in TASKS}
    jobs |= {label: (TASKS, make) for label, make in weightings().items()}
    problems = ["scale", "difficulty"]
    runs = list(itertools.product(problems, arguments.seeds, jobs))
    for i, (problem, seed, label) in enumerate(runs):
        key = (problem, arguments.epochs, label, seed)
        if key in done:
            continue
        tasks, make = jobs[label]
        done[key] = train(problem, seed, arguments.epochs, tasks, make())
        entry = {"run": key, **done[key]}
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        print(f"{i + 1}/{len(runs)} {problem}, seed {seed}: {label}")
    return done


def summarize(done, arguments):
    """Returns Δm of each seed and the spread of log λ, per problem."""
    table = {}
    for problem in ("scale", "difficulty"):
        run = functools.partial(run_of, done, problem, arguments.epochs)
        table[problem] = {}
        for label in weightings():
            deltas, moves = [], []
            for seed in arguments.seeds:
                single = [run(f"single {t}", seed)["errors"][0] for t in TASKS]
                ratio = np.divide(run(label, seed)["errors"], single)
                deltas.append(float(100 * (ratio - 1).mean()))
                moves.append(run(label, seed)["moves"])
            table[problem][label] = {
                "delta_m": deltas,
                "std_log_lambda": float(np.mean(moves)),
            }
    return table


def run_of(done, *key):
    return done[key]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--output-dir", type=Path, default=Path(__file__).parent
    )
    arguments = parser.parse_args(argv)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    table = summarize(run_all(arguments), arguments)
    settings = {"epochs": arguments.epochs, "seeds": arguments.seeds}
    files.write(
        arguments.output_dir / "igb_v2_settings.json",
        files.to_json({**settings, "problems": table}, indent=1) + "\n",
    )
    print(
        f"{'Δm (standard deviation over seeds)':36} scale          difficulty"
    )
    for label in weightings():
        cells = []
        for problem in table.values():
            deltas = problem[label]["delta_m"]
            moves = problem[label]["std_log_lambda"]
            cells.append(f"{np.mean(deltas):6.1f} ({np.std(deltas):4.1f})")
            cells.append(f"{moves:5.2f}")
        print(f"{label:36}", *cells)


if __name__ == "__main__":
    main()
