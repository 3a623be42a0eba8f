"""The MTL bandit: how near does a learned task selection policy come?

Section 4.1 and figure 1 of the task selection paper. Eight tasks are learned by
training them, and are slowly forgotten. The oracle knows with what
probabilities to choose them; a policy is as good as the average score of all
tasks after 4,000 steps. The policies are

- random: every task with the same probability,
- oracle: the probabilities from which the environment was made,
- Exp3.S: learns while it runs, from the prediction gain,
- counterfactual: fixed, learned in two rounds. The first learns from one run of
  the random policy, the second from this and one run of the first's policy.

The entropy weight of the counterfactual policy is chosen in each environment
from a grid, by the mean score of three further runs. Then each policy runs with
10 other seeds. The part of the gap that is closed is

    (counterfactual - random) / (oracle - random)

of the median scores over the seeds. The oracle is not the optimum (it reaches
a task's maximum only on the average), so the part can be above 1, and in
environment 12, where the random policy is better than the oracle, it is
negative for each policy that beats both. It counts as it is. The paper shows
one environment; there are 24 here.

The median of the part is 0.81; 21 of the 24 environments are at a half or more,
and in all 24 the policy is better than the random one. It depends on the
entropy weight: chosen from the paper's grid of 0.1, 0.15, 0.2 and 0.25 the
median is 0.74; with 0.1 the policy is far worse than the random one, with 0.15
as good (0.02), with 0.2, the paper's choice, it is 0.47, with 0.25 and 0.5 it
is 0.72 and 0.71. Exp3.S ends 2.4 points (of 100) below the random policy in the
median, between 5.9 below and 0.7 above.

    python experiments/mtl_bandit.py
    python experiments/mtl_bandit.py --environments 2 --output-dir /tmp/bandit

Reference:

- Glover and Hokamp, "Task Selection Policies for Multitask Learning", 2019,
  https://arxiv.org/abs/1907.06214
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np

from keras_mtl import selection

NUM_TASKS = 8
TASKS = [f"task {i}" for i in range(NUM_TASKS)]
# The first four are those from which the paper chooses one.
ENTROPY_WEIGHTS = (0.1, 0.15, 0.2, 0.25, 0.5, 1.0)
PAPER_GRID = ENTROPY_WEIGHTS[:4]
ROUNDS = 2
CHOICE_RUNS = 3
COLORS = {
    "oracle": "#000000",
    "counterfactual": "#0072B2",
    "random": "#E69F00",
    "Exp3.S": "#009E73",
}


def run(env, policy, reward, seed):
    """Runs a policy in an environment, from the start.

    Returns:
        The average score after each step, and the `SelectionLog`.
    """
    rng = np.random.default_rng(seed)
    env.reset()
    policy.build([None] * NUM_TASKS)
    reward.build(NUM_TASKS)
    log = selection.SelectionLog(TASKS)
    scores = []
    for _ in range(env.num_steps):
        task, propensity = policy.sample(rng)
        before, after = env.step(task)
        if reward.needs_loss_after:
            loss, loss_after = 1 - before, 1 - after
        else:
            # A score is the likelihood in equation 16.
            loss, loss_after = -math.log(before) if before else math.inf, None
        value = reward(task, loss, loss_after)
        policy.update(task, value, propensity)
        log.append(task, propensity, value, loss)
        scores.append(env.scores.mean())
    return np.array(scores), log


def run_fixed(env, policy, seed):
    return run(env, policy, selection.FallingLoss(), seed)


def learn_policy(env, first_log, entropy_weight, seed):
    """Learns a policy in `ROUNDS` rounds, each from all logs until then."""
    logs = [first_log]
    while True:
        policy = selection.counterfactual_policy(
            selection.SelectionLog.join(logs),
            entropy_weight,
            seed=0,
            iterations=20,
        )
        if len(logs) == ROUNDS:
            return policy
        logs.append(run_fixed(env, policy, [*seed, len(logs)])[1])


def run_environment(index, steps, seeds):
    """Runs all policies in one environment.

    Returns:
        The environment, dict of policy or entropy weight to scores of shape
        `(seeds, steps)`, the learned policies, and the entropy weights that
        were chosen from all and from the paper's grid.
    """
    env = selection.BanditEnvironment(NUM_TASKS, steps, seed=index)
    _, first_log = run_fixed(env, selection.Uniform(), [index, 0])
    learned = {
        weight: learn_policy(env, first_log, weight, [index, 1])
        for weight in ENTROPY_WEIGHTS
    }
    choice_scores = {
        weight: np.mean(
            [
                run_fixed(env, policy, [index, 2, i])[0][-1]
                for i in range(CHOICE_RUNS)
            ]
        )
        for weight, policy in learned.items()
    }
    chosen, of_paper = (
        max(grid, key=choice_scores.get)
        for grid in (ENTROPY_WEIGHTS, PAPER_GRID)
    )
    fixed = {
        "random": selection.Uniform(),
        "oracle": selection.Fixed(env.oracle),
        **learned,
    }
    scores = {
        name: np.array(
            [run_fixed(env, policy, [index, 3, i])[0] for i in range(seeds)]
        )
        for name, policy in fixed.items()
    }
    scores["Exp3.S"] = np.array(
        [
            run(
                env,
                selection.Exp3S(seed=i),
                selection.PredictionGain(),
                [index, 3, i],
            )[0]
            for i in range(seeds)
        ]
    )
    scores["counterfactual"] = scores[chosen]
    return env, scores, learned, (chosen, of_paper)


def closed(final, name):
    return (final[name] - final["random"]) / (final["oracle"] - final["random"])


def summarize_environment(index, env, scores, learned, weights):
    chosen, of_paper = weights
    final = {name: np.median(x[:, -1]) for name, x in scores.items()}
    return {
        "seed": index,
        "oracle": np.round(env.oracle, 4).tolist(),
        "policy": np.round(learned[chosen].probabilities, 4).tolist(),
        "entropy_weight": chosen,
        "scores": {
            name: {
                "median": round(float(final[name]), 4),
                "min": round(float(scores[name][:, -1].min()), 4),
                "max": round(float(scores[name][:, -1].max()), 4),
            }
            for name in COLORS
        },
        "gap_closed": round(closed(final, "counterfactual"), 4),
        "gap_closed_with_the_paper_grid": round(closed(final, of_paper), 4),
        "gap_closed_by_entropy_weight": {
            str(weight): round(closed(final, weight), 4)
            for weight in ENTROPY_WEIGHTS
        },
    }


def summarize(environments, steps, seeds):
    def median(values):
        return round(float(np.median(list(values))), 4)

    gaps = [env["gap_closed"] for env in environments]
    medians = {
        name: [env["scores"][name]["median"] for env in environments]
        for name in COLORS
    }
    behind = np.array(medians["Exp3.S"]) - np.array(medians["random"])
    return {
        "tasks": NUM_TASKS,
        "steps": steps,
        "seeds": seeds,
        "alpha": 2.0,
        "rounds": ROUNDS,
        "median_gap_closed": median(gaps),
        "quartiles_of_gap_closed": np.round(
            np.quantile(gaps, [0.25, 0.75]), 4
        ).tolist(),
        "environments_with_half_of_gap_closed": int(
            np.sum(np.array(gaps) >= 0.5)
        ),
        "median_gap_closed_with_the_paper_grid": median(
            env["gap_closed_with_the_paper_grid"] for env in environments
        ),
        "median_gap_closed_by_entropy_weight": {
            str(weight): median(
                env["gap_closed_by_entropy_weight"][str(weight)]
                for env in environments
            )
            for weight in ENTROPY_WEIGHTS
        },
        "median_scores": {name: median(x) for name, x in medians.items()},
        "exp3s_minus_random": {
            "median": median(behind),
            "min": round(float(behind.min()), 4),
            "max": round(float(behind.max()), 4),
        },
        "environments": environments,
    }


def plot(all_scores, summary, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.2), layout="constrained"
    )
    gaps = [env["gap_closed"] for env in summary["environments"]]
    typical = int(np.argmin(np.abs(gaps - np.median(gaps))))
    draw_scores(left, all_scores[typical])
    left.set_title(
        f"environment {typical}, of the median gap: median and range of seeds",
        loc="left",
        fontsize=11,
    )
    draw_gaps(right, summary)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_scores(ax, scores):
    """Figure 1 of the paper: medians, with the range of all seeds."""
    for name, color in COLORS.items():
        values = scores[name]
        steps = np.arange(1, values.shape[1] + 1)
        ax.fill_between(
            steps,
            values.min(axis=0),
            values.max(axis=0),
            color=color,
            alpha=0.15,
            linewidth=0,
        )
        ax.plot(steps, np.median(values, axis=0), color=color, label=name)
    ax.set_xlabel("step")
    ax.set_ylabel("average score of the tasks")
    ax.legend(frameon=False)


def draw_gaps(ax, summary):
    labels = [*map(str, ENTROPY_WEIGHTS), "chosen"]
    for i, label in enumerate(labels):
        gaps = [
            env["gap_closed"]
            if label == "chosen"
            else env["gap_closed_by_entropy_weight"][label]
            for env in summary["environments"]
        ]
        color = COLORS["counterfactual"] if label == "chosen" else "0.5"
        # The few environments with hardly a gap would hide all others.
        shown = np.clip(gaps, -2, 2)
        ax.plot(np.full(len(gaps), i), shown, "o", color=color, alpha=0.5)
        median = np.clip(np.median(gaps), -2, 2)
        ax.plot([i - 0.3, i + 0.3], 2 * [median], color="black")
    ax.axhline(0, color="0.7", linewidth=0.8)
    ax.axhline(1, color="0.7", linewidth=0.8)
    ax.set_xticks(range(len(labels)), labels)
    ax.set_xlabel("entropy weight")
    ax.set_ylabel("part of the gap that is closed")
    ax.set_title(
        "all environments and their median, cut at ±2", loc="left", fontsize=11
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--environments", type=int, default=24)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--output-dir", type=Path, default=Path(__file__).parent
    )
    args = parser.parse_args(argv)
    args.output_dir.mkdir(parents=True, exist_ok=True)

    print("environment  random  oracle  Exp3.S  counterfactual  weight  closed")
    environments, all_scores = [], []
    for index in range(args.environments):
        results = run_environment(index, args.steps, args.seeds)
        all_scores.append(results[1])
        env = summarize_environment(index, *results)
        environments.append(env)
        medians = {name: env["scores"][name]["median"] for name in COLORS}
        print(
            f"{index:11}  {medians['random']:6.3f}  {medians['oracle']:6.3f}  "
            f"{medians['Exp3.S']:6.3f}  {medians['counterfactual']:14.3f}  "
            f"{env['entropy_weight']:6}  {env['gap_closed']:6.2f}",
            flush=True,
        )
    summary = summarize(environments, args.steps, args.seeds)
    stem = args.output_dir / Path(__file__).stem
    Path(f"{stem}.json").write_text(json.dumps(summary, indent=1) + "\n")
    plot(all_scores, summary, f"{stem}.png")
    print(f"median of the gap closed: {summary['median_gap_closed']:.2f}")
    grid = summary["median_gap_closed_with_the_paper_grid"]
    print(f"with a weight of the paper's grid {PAPER_GRID}: {grid:.2f}")
    print(f"by weight: {summary['median_gap_closed_by_entropy_weight']}")
    print(f"Exp3.S minus random: {summary['exp3s_minus_random']}")


if __name__ == "__main__":
    main()
