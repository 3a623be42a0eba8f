"""Whether another reward makes IGBv2's agent useful, on four problems.

The reward of the paper's equation 4 is how much the losses fall from one batch
to the next. That is mostly the difference between the batches, and says little
about the weights. The variants, which are ours:

- `same batch`: how much the losses of the batch itself fall by the step, which
  costs one more forward pass.
- `8 batches`: the agent keeps its weights for 8 batches, and is rewarded by the
  mean loss of these against that of the 8 batches before.
- `standardized`: the reward, or one of those, over its root mean square so far,
  so that the agent's first temperature of 0.2 is not far above it.

    python experiments/igb_v2_rewards.py --data-dir fdu_mtl
    python experiments/igb_v2_rewards.py --problems scale difficulty
    python experiments/igb_v2_rewards.py --problems qm9 --epochs 20 \
        --rows scale_invariant random uniform igb_v2
    python experiments/igb_v2_rewards.py --problems scale --epochs 9 \
        --seeds 0 --output-dir /tmp/rewards

The problems are the two generated ones of `igb_v2_settings.py`, FDU-MTL with
averaged word vectors, which are learned, and QM9 as in `qm9.py`, whose models
of one task each are those here. Δm is against models of one task each, by the
errors on test data, and on FDU-MTL by the accuracies. The controls have no
agent: λ = 1 (`scale_invariant`), `random` (the softmax of normal numbers over
L) and `uniform` (logits uniform on ±3 over L).

Beside Δm, the table has the standard deviation of log λ over the last third of
the training, between the epochs' last steps, as a mean over the tasks (below
0.2, the agent does not choose), and R², the part of the reward's variance in
the replay buffer that a linear function of log λ and the losses before explains
beyond one of these losses alone, adjusted for the number of terms.

The runs are kept in `igb_v2_rewards_<problem>_runs.jsonl`: what is there is not
trained again. The results are in `igb_v2_rewards.json` beside this script.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import igb_v2_settings as settings
import keras
import numpy as np
import qm9 as qm9_experiment
from keras import layers
from keras import ops

import keras_mtl
from keras_mtl.backend import files
from keras_mtl.datasets import fdu_mtl
from keras_mtl.datasets import qm9
from keras_mtl.models import message_passing
from keras_mtl.weightings import IGBv2

register = keras.saving.register_keras_serializable(package="igb_v2_rewards")


class Problem(NamedTuple):
    """What is trained, and how it is measured."""

    train: tuple
    test: tuple
    tasks: tuple
    outputs: Callable
    learning_rate: float
    batch_size: int
    loss: str
    metric: str
    scale: dict | None = None
    # The last learning rate over the first: the end of the paper's on NYUv2.
    last_rate: float = 1 / 16


@register
class StandardizedIGBv2(IGBv2):
    """IGBv2 whose rewards are divided by their root mean square so far."""

    def build_state(self, num_tasks):
        super().build_state(num_tasks)
        self.rewards = self.add_state(name="rewards")
        self.squares = self.add_state(name="squares")

    def compute_reward(self, losses):
        return self.standardize(super().compute_reward(losses))

    def standardize(self, reward):
        # Before the base is known, losses that are observed are all 1.
        known = ops.cast(self.epochs >= self.base_epoch, "float32")
        rewards = self.rewards + known
        squares = self.squares + known * ops.square(reward)
        self.rewards.assign(rewards)
        self.squares.assign(squares)
        mean = squares / ops.maximum(rewards, 1.0)
        return reward / ops.sqrt(ops.maximum(mean, 1e-12))


@register
class SameBatchIGBv2(StandardizedIGBv2):
    """IGBv2 with the decline of a batch's own losses as reward."""

    needs_losses_after = True

    def __init__(self, standardized=True, **kwargs):
        super().__init__(**kwargs)
        self.standardized = standardized

    def build_state(self, num_tasks):
        super().build_state(num_tasks)
        self.own_reward = self.add_state(name="own_reward")

    def update_after_step(self, losses):
        self.own_reward.assign(IGBv2.compute_reward(self, losses))

    def compute_reward(self, losses):
        reward = ops.convert_to_tensor(self.own_reward)
        return self.standardize(reward) if self.standardized else reward


@register
class HeldIGBv2(StandardizedIGBv2):
    """IGBv2 that keeps its weights for some batches, and sees their means."""

    def __init__(self, held=8, **kwargs):
        super().__init__(**kwargs)
        self.held = held

    def build_state(self, num_tasks):
        super().build_state(num_tasks)
        shape = (num_tasks,)
        self.total = self.add_state(shape, name="total")
        self.before = self.add_state(shape, "ones", name="before")

    def is_over(self):
        """Whether the batches that have the same weights are over."""
        return ops.equal(ops.convert_to_tensor(self.steps) % self.held, 0)

    def remember(self, losses):
        # The losses of a step come after the weights of the step before.
        mean = self.total + self.observe(losses)
        over = self.is_over()
        self.total.assign(ops.where(over, ops.zeros_like(mean), mean))
        mean = mean / self.held
        before = ops.convert_to_tensor(self.before)
        reward = self.last_scale * ops.min(before - mean)
        epoch = ops.convert_to_tensor(self.epochs) + 1
        when = ops.logical_and(over, epoch > self.base_epoch)
        scaled = self.standardize(ops.where(when, reward, 0.0))
        self.buffer.add(before, self.last_action, scaled, mean, when=when)
        self.before.assign(ops.where(over, mean, before))

    def compute_weights(self, losses):
        over, last = self.is_over(), ops.copy(self.last_action)
        super().compute_weights(losses)
        epoch = ops.convert_to_tensor(self.epochs) + 1
        # The steps were counted: this is the action of the step.
        drawn = keras_mtl.agents.noise.normal(
            losses.shape, self.drawn_seed, self.steps - 1
        )
        chosen = self.learner.act(ops.convert_to_tensor(self.before), drawn)
        at_random = ops.clip(drawn / self.logit_bound, -1.0, 1.0)
        new = ops.where(epoch < self.use_epoch, at_random, chosen)
        action = ops.where(over, new, last)
        self.last_action.assign(action)
        weights = ops.softmax(self.logit_bound * action)
        return self.num_tasks * weights / losses


def weightings():
    """Returns a dict of a label and a weighting."""
    agent = {"agent": "keras", "seed": 0}
    return {
        "equal": "equal",
        "scale_invariant": "scale_invariant",
        "igb_v1": "igb_v1",
        "random": keras_mtl.weightings.Random(seed=0, scale_invariant=True),
        "uniform": settings.UniformLogits(),
        "igb_v2": IGBv2(**agent),
        "igb_v2, standardized": StandardizedIGBv2(**agent),
        "igb_v2, same batch": SameBatchIGBv2(standardized=False, **agent),
        "igb_v2, same batch, standardized": SameBatchIGBv2(**agent),
        "igb_v2, 8 batches, standardized": HeldIGBv2(**agent),
    }


class Choices(keras.callbacks.Callback):
    """Logs the standard deviation of log λ, and R² after the last epoch."""

    def on_train_begin(self, logs=None):
        self.logits = []

    def on_epoch_end(self, epoch, logs):
        if self.model.weighting is None:
            return
        self.logits.append(settings.logits_of(self.model))
        last = np.stack(self.logits[-max(1, self.params["epochs"] // 3) :])
        last = last - np.log(np.exp(last).sum(axis=1, keepdims=True))
        logs["std_log_lambda"] = float(last.std(axis=0).mean())
        logs["r_squared"] = float("nan")
        is_agent = isinstance(self.model.weighting, IGBv2)
        if is_agent and epoch + 1 == self.params["epochs"]:
            logs["r_squared"] = r_squared(self.model.weighting)


def r_squared(weighting):
    """Returns what log λ explains of the reward beyond the losses before."""
    size = int(weighting.buffer.size())
    rows = ops.convert_to_numpy(weighting.buffer.rows)[:size]
    tasks = weighting.num_tasks
    before, actions, rewards = np.split(rows, [tasks, 2 * tasks], axis=1)
    logits = weighting.logit_bound * actions
    logits = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    ones = np.ones((size, 1))
    alone = unexplained(np.hstack([ones, before]), rewards[:, 0])
    both = unexplained(np.hstack([ones, before, logits]), rewards[:, 0])
    return float(1 - both / alone)


def unexplained(terms, values):
    """Returns the variance that a linear function of `terms` leaves."""
    coefficients, _, rank, _ = np.linalg.lstsq(terms, values, rcond=None)
    residuals = values - terms @ coefficients
    return (residuals**2).sum() / max(1, len(values) - rank)


def generated(name, arguments):
    (x, y), test = settings.generate(name, seed=0)
    tasks = tuple(settings.TASKS)

    def outputs(tasks):
        inputs = features = keras.Input((x.shape[1],))
        for _ in range(2):
            features = layers.Dense(32, activation="relu")(features)
        return inputs, {t: layers.Dense(1, name=t)(features) for t in tasks}

    return Problem((x, y), test, tasks, outputs, 3e-3, 32, "mse", "mae")


def fdu_mtl_problem(arguments):
    if arguments.data_dir is None:
        raise SystemExit("FDU-MTL needs --data-dir, its folder")
    tasks = fdu_mtl.AMAZON_TASKS
    train, _, test, vocabulary = fdu_mtl.load_data(arguments.data_dir, tasks)

    def outputs(tasks):
        shape = train[0]["tokens"].shape[1:]
        tokens = keras.Input(shape, dtype="int32", name="tokens")
        words = layers.Embedding(len(vocabulary), 32, mask_zero=True)(tokens)
        features = layers.GlobalAveragePooling1D()(words)
        features = layers.Dense(64, activation="relu")(features)
        features = layers.Dropout(0.5)(features)
        return {"tokens": tokens}, {
            t: layers.Dense(1, activation="sigmoid", name=t)(features)
            for t in tasks
        }

    loss = "binary_crossentropy"
    return Problem(train, test, tasks, outputs, 2e-3, 256, loss, "accuracy")


def qm9_problem(arguments):
    *splits, statistics = qm9.load_data(
        qm9_experiment.MOLECULES, seed=0, data_dir=arguments.qm9_dir
    )
    tasks = qm9.TASKS
    train, _, test = [(x, {t: y[t] for t in tasks}) for x, y in splits]
    scale = {f"{task}_mae": statistics[task].std for task in tasks}
    rate, size = qm9_experiment.LEARNING_RATE, qm9_experiment.BATCH_SIZE
    outputs = message_passing
    return Problem(
        train, test, tasks, outputs, rate, size, "mse", "mae", scale, 0.0
    )


PROBLEMS = {
    "scale": lambda arguments: generated("scale", arguments),
    "difficulty": lambda arguments: generated("difficulty", arguments),
    "fdu_mtl": fdu_mtl_problem,
    "qm9": qm9_problem,
}


def compile_arguments(problem, tasks, arguments):
    """Returns the arguments of `compile`, with a rate that decays."""
    count = len(problem.train[1][tasks[0]])
    steps = arguments.epochs * -(-count // problem.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(
        problem.learning_rate, steps, alpha=problem.last_rate
    )
    return {
        "optimizer": keras.optimizers.Adam(rate),
        "loss": dict.fromkeys(tasks, problem.loss),
        "metrics": {task: [problem.metric] for task in tasks},
    }


def train(problem, baseline, arguments, path):
    return keras_mtl.benchmark(
        lambda: keras_mtl.MultiTaskModel(*problem.outputs(problem.tasks)),
        problem.train,
        compile_args=lambda: compile_arguments(
            problem, problem.tasks, arguments
        ),
        weightings={
            label: weighting
            for label, weighting in weightings().items()
            if not arguments.rows or label in arguments.rows
        },
        seeds=arguments.seeds,
        epochs=arguments.epochs,
        batch_size=problem.batch_size,
        test_data=problem.test,
        metrics=dict.fromkeys(problem.tasks, problem.metric),
        scale=problem.scale,
        baseline=baseline,
        callbacks=lambda: [Choices()],
        path=path,
        progress=arguments.progress,
    )


def of_qm9_experiment(arguments):
    """Returns the results of the models of one task each of `qm9.py`."""
    path = Path(qm9_experiment.__file__).with_suffix(".json")
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["epochs"] != arguments.epochs:
        raise SystemExit(
            f"qm9.json has models of one task that were trained for "
            f"{content['epochs']} epochs: type --epochs {content['epochs']}"
        )
    return content["single_task"]


def of_single_tasks(name, problem, arguments):
    """Returns the mean results of models of one task each."""
    path = arguments.output_dir / "igb_v2_rewards_single_runs.jsonl"
    done = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        entry = json.loads(line)
        done[tuple(entry["run"])] = entry["result"]
    baseline = {}
    for task in problem.tasks:
        results = []
        for seed in arguments.seeds:
            key = (name, arguments.epochs, task, seed)
            if key not in done:
                of_task = with_labels(problem, task)
                done[key] = train_alone(of_task, task, seed, arguments)
                with open(path, "a", encoding="utf-8") as file:
                    entry = {"run": key, "result": done[key]}
                    file.write(json.dumps(entry) + "\n")
                print(f"{name}, {task} alone, seed {seed}: {done[key]:.4g}")
            results.append(done[key])
        baseline[f"{task}_{problem.metric}"] = float(np.mean(results))
    return baseline


def train_alone(problem, task, seed, arguments):
    """Returns the result of a model of one task, in the task's unit."""
    keras.utils.set_random_seed(seed)
    model = keras.Model(*problem.outputs((task,)))
    model.compile(**compile_arguments(problem, (task,), arguments))
    options = {"batch_size": problem.batch_size, "verbose": 0}
    model.fit(*problem.train, epochs=arguments.epochs, **options)
    options = {"batch_size": 1000, "verbose": 0, "return_dict": True}
    results = model.evaluate(*problem.test, **options)
    # With one output, Keras leaves out its name or not.
    key = f"{task}_{problem.metric}"
    result = results.get(key, results.get(problem.metric))
    return float(result) * (problem.scale or {}).get(key, 1.0)


def with_labels(problem, task):
    """Returns the problem with the examples that have a label of a task.

    The batches are as much smaller, so that there are as many steps.
    """

    def labelled(x, y):
        rows = ~np.isnan(y[task][:, 0])
        x = keras.tree.map_structure(lambda array: array[rows], x)
        return x, {task: y[task][rows]}

    train, test = labelled(*problem.train), labelled(*problem.test)
    share = len(train[1][task]) / len(problem.train[1][task])
    size = max(1, round(share * problem.batch_size))
    return problem._replace(train=train, test=test, batch_size=size)


def compare(name, arguments):
    """Returns Δm, the deviation of log λ and R² by weighting."""
    problem = PROBLEMS[name](arguments)
    if name == "qm9":
        baseline = of_qm9_experiment(arguments)
    else:
        baseline = of_single_tasks(name, problem, arguments)
    path = arguments.output_dir / f"igb_v2_rewards_{name}_runs.jsonl"
    result = train(problem, baseline, arguments, path)
    higher = problem.metric == "accuracy"
    rows = {}
    for label in result.labels:
        records = [r for r in result.records if r["label"] == label]
        last = {
            key: [record["history"][key][-1] for record in records]
            for key in ("std_log_lambda", "r_squared")
        }
        deltas = [
            keras_mtl.metrics.delta_m(
                result.results(label, seed), baseline, higher
            )
            for seed in arguments.seeds
        ]
        rows[label] = {"delta_m": deltas} | {
            key: float(np.mean(values)) for key, values in last.items()
        }
    return {"baseline": baseline, "weightings": rows}


def show(name, rows):
    print(f"\n{name:34} Δm             std of log λ  R²")
    for label, row in rows.items():
        mean, spread = np.mean(row["delta_m"]), np.std(row["delta_m"])
        print(
            f"{label:34} {mean:6.1f} ({spread:4.1f})"
            f"  {row['std_log_lambda']:8.2f} {row['r_squared']:11.3f}"
        )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rows", nargs="+", help="labels of the table")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data-dir", help="folder of FDU-MTL")
    parser.add_argument("--qm9-dir", help="folder with the CSV files of QM9")
    parser.add_argument(
        "--output-dir", type=Path, default=Path(__file__).parent
    )
    parser.add_argument("--no-progress", dest="progress", action="store_false")
    arguments = parser.parse_args(argv)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    path = arguments.output_dir / "igb_v2_rewards.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    for name in arguments.problems:
        found = compare(name, arguments)
        settings_of = {"epochs": arguments.epochs, "seeds": arguments.seeds}
        known[name] = {**settings_of, **found}
        files.write(path, files.to_json(known, indent=1) + "\n")
        show(name, found["weightings"])


if __name__ == "__main__":
    main()
