"""Two conflicting objectives of two variables: who reaches the Pareto front?

The problem of figure 1 of the Nash-MTL paper and, before it, of the CAGrad
paper. With the point `(x, y)`:

    f1 = log max(|(-x - 7) / 2 - tanh(-y)|, 5e-6) + 6
    f2 = log max(|(-x + 3) / 2 + tanh(-y) + 2|, 5e-6) + 6
    g1 = ((-x + 7)^2 + 0.1 (-y - 8)^2) / 10 - 20
    g2 = ((-x - 7)^2 + 0.1 (-y - 8)^2) / 10 - 20
    c1 = max(tanh(y / 2), 0)
    c2 = max(tanh(-y / 2), 0)
    L1 = c1 f1 + c2 g1
    L2 = c1 f2 + c2 g2

In the upper half-plane each loss has a narrow valley, infinitely steep at its
floor, and the floors are where equal weighting gets stuck. The Pareto front
lies in the lower half-plane, between the minima of `L1` near `(7, -8.4)` and of
`L2` near `(-7, -8.4)`.

The set-up is the paper's: five starts, Adam with a learning rate of 1e-3,
35,000 steps, the direction clipped to norm 1. The first loss is multiplied
by 1, 10, and 0.1 (the paper's figure). The distance of a run is that of its
last point to the front, in the space of the two losses before this factor.

Nash-MTL reaches the front in all 15 runs. Equal weighting does from the other
three starts, but from (-8.5, 7.5) and (9, 9) it reaches it at no factor within
the 35,000 steps: it stays in a valley, or has lost most of its steps there.

    python experiments/toy_two_objectives.py
    python experiments/toy_two_objectives.py --steps 5000 --output-dir /tmp/toy

It also draws the README's picture, `docs/images/largest_gradient.png`: the two
losses over the steps from the start (0, 0), where both are 0, with the first
loss multiplied by 10.

References:

- Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning",
  NeurIPS 2021, https://github.com/Cranial-XIX/CAGrad (`toy.py`): the losses.
- Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022,
  https://github.com/AvivNavon/nash-mtl (`experiments/toy`): the starts, the
  factor 0.1, the optimizer.
"""

import argparse
import json
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_mtl.solvers import nash_bargaining

STARTS = np.array(
    [[-8.5, 7.5], [0.0, 0.0], [9.0, 9.0], [-7.5, -0.5], [9.0, -1.0]]
)
LOSS_SCALES = (1.0, 10.0, 0.1)
TASK_LOOKS = {"task A (gradients × 10)": "#0072B2", "task B": "#D55E00"}
REACHED = 0.05  # of losses that span 20 on the front
MINIMA = np.array([7.0, -7.0])
LOG_FLOOR = 5e-6
SHOWN_STEPS = 12_000  # in the README's picture
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7")


def losses(points):
    """The two losses, shape `(..., 2)`, at points of shape `(..., 2)`."""
    upper, lower, _ = _parts(points)
    y = points[..., 1:]
    gate = np.tanh(y / 2)
    return np.maximum(gate, 0) * upper + np.maximum(-gate, 0) * lower


def jacobian(points):
    """The gradients, shape `(..., 2, 2)`: losses, then variables.

    On the line `y = 0`, where the gates have a kink, it is the mean of the
    derivatives on either side.
    """
    upper, lower, argument = _parts(points)
    x, y = points[..., :1], points[..., 1:]
    gate = np.tanh(y / 2)
    above, below = np.maximum(gate, 0), np.maximum(-gate, 0)
    gate_slope = (1 - gate**2) / 2
    log_slope = np.where(np.abs(argument) > LOG_FLOOR, 1 / argument, 0)
    argument_slope = (1 - np.tanh(y) ** 2) * np.array([1, -1])
    along_x = -0.5 * log_slope * above + (x - MINIMA) / 5 * below
    along_y = (
        log_slope * argument_slope * above
        + (y + 8) / 50 * below
        + gate_slope * (np.heaviside(gate, 0.5) * upper)
        - gate_slope * (np.heaviside(-gate, 0.5) * lower)
    )
    return np.stack([along_x, along_y], axis=-1)


def _parts(points):
    x, y = points[..., :1], points[..., 1:]
    sign = np.array([1, -1])
    argument = -(x + MINIMA) / 2 + sign * np.tanh(y)
    upper = np.log(np.maximum(np.abs(argument), LOG_FLOOR)) + 6
    lower = ((x - MINIMA) ** 2 + 0.1 * (y + 8) ** 2) / 10 - 20
    return upper, lower, argument


def pareto_front(num_points=2001):
    """Points of the front: the minimizers of all weighted sums of the losses.

    Where `y < 0`, the sum with weights `p` and `1 - p` is a quadratic in `x`
    times a factor of `y`, least at `x = 7 (2 p - 1)`; `y` is found on a grid.
    """
    p = np.linspace(0, 1, num_points)[:, None]
    y = np.linspace(-9, -8, 5001)
    sums = np.tanh(-y / 2) * (19.6 * p * (1 - p) + 0.01 * (y + 8) ** 2 - 20)
    return np.stack([14 * p[:, 0] - 7, y[np.argmin(sums, axis=1)]], axis=-1)


def distance_to_front(points, front):
    """Distance of each point's losses to the polyline of the front's losses."""
    values, corners = losses(points)[:, None], losses(front)
    starts, edges = corners[:-1], np.diff(corners, axis=0)
    along = np.sum((values - starts) * edges, axis=-1)
    along = np.clip(along / np.sum(edges**2, axis=-1), 0, 1)
    nearest = starts + along[..., None] * edges
    return np.linalg.norm(values - nearest, axis=-1).min(axis=1)


def compiled(function):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


@compiled
def nash_weights(gramians):
    return ops.stack([nash_bargaining(gramian) for gramian in gramians])


def nash_mtl(jacobians, max_norm=1.0):
    gramians = jacobians @ np.swapaxes(jacobians, 1, 2)
    weights = nash_weights(list(gramians.astype("float32")))
    weights = ops.convert_to_numpy(weights).astype("float64")
    directions = np.einsum("nt,ntp->np", weights, jacobians)
    norms = np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * np.minimum(1, max_norm / np.maximum(norms, 1e-30))


def equal(jacobians):
    return jacobians.sum(axis=1)


METHODS = {"Nash-MTL": nash_mtl, "Equal": equal}


def train(method, loss_scales, steps=35_000, learning_rate=1e-3, keep=700):
    """Runs Adam from every start, with every factor of the first loss.

    Returns:
        About `keep` points of each trajectory, shape `(points, scales, starts,
        2)`.
    """
    points = np.tile(STARTS, (len(loss_scales), 1))
    factors = np.ones((len(points), 2, 1))
    factors[:, 0, 0] = np.repeat(loss_scales, len(STARTS))
    mean, square = np.zeros_like(points), np.zeros_like(points)
    trajectory = [points]
    for step in range(1, steps + 1):
        direction = METHODS[method](jacobian(points) * factors)
        mean = 0.9 * mean + 0.1 * direction
        square = 0.999 * square + 0.001 * direction**2
        root = np.sqrt(square / (1 - 0.999**step))
        change = mean / (1 - 0.9**step) / (root + 1e-8)
        points = points - learning_rate * change
        if step % max(1, steps // keep) == 0 or step == steps:
            trajectory.append(points)
    return np.reshape(trajectory, (-1, len(loss_scales), *STARTS.shape))


def plot(trajectories, front, space, path):
    """One panel per method and factor, in `space` "variables" or "losses"."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    figure, axes = plt.subplots(
        len(METHODS),
        len(LOSS_SCALES),
        figsize=(11, 7),
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    in_space = losses if space == "losses" else np.asarray
    for row, (method, trajectory) in zip(
        axes, trajectories.items(), strict=True
    ):
        for i, (ax, scale) in enumerate(zip(row, LOSS_SCALES, strict=True)):
            if space == "variables":
                draw_contours(ax, scale)
            ax.plot(*in_space(front).T, color="0.6", linewidth=5, zorder=1)
            for start, color in enumerate(COLORS):
                draw_run(ax, in_space(trajectory[:, i, start]), color)
            ax.set_title(f"{method}, first loss × {scale:g}")
    names = ("$L_1$", "$L_2$") if space == "losses" else ("$x$", "$y$")
    figure.supxlabel(names[0])
    figure.supylabel(names[1])
    figure.legend(
        handles=[
            Line2D([], [], color="0.6", linewidth=5, label="Pareto front"),
            Line2D([], [], color="black", marker="o", ls="", label="start"),
            Line2D([], [], color="black", marker="*", ls="", label="end"),
        ],
        loc="outside upper center",
        ncols=3,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_shares(trajectories, steps, path):
    """The README's picture: how far each task comes, with and without balance.

    The share of a task is the fall of its loss, in percent of the largest fall
    that it can have alone.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    titles = {
        "Equal": "Equal weights:\nthe task with the large gradients decides",
        "Nash-MTL": "Balanced by nash_mtl:\nboth tasks get their share",
    }
    figure, axes = plt.subplots(
        1, 2, figsize=(8, 3.6), sharey=True, layout="constrained"
    )
    for ax, (method, title) in zip(axes, titles.items(), strict=True):
        shares, places = shares_of_best(trajectories[method], steps)
        draw_shares(ax, shares, places)
        ax.set_title(title, loc="left", fontsize=12)
        ax.set_xlabel("training steps")
        ax.locator_params(axis="x", nbins=4)
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.set(xlim=(0, places[-1]), ylim=(0, 115))
        ax.set_yticks([0, 25, 50, 75, 100])
        ax.grid(axis="y", color="0.9")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("% of what the task reaches alone")
    figure.savefig(path, dpi=200)
    plt.close(figure)


def draw_shares(ax, shares, places):
    ends = shares[-1]
    # Two that end together are named above and below.
    sides = (1, -1) if abs(ends[0] - ends[1]) < 15 else (1, 1)
    for task, (name, color) in enumerate(TASK_LOOKS.items()):
        # Dashes, so that a line below them shows.
        style = (0, (2.5, 1.2)) if task else "-"
        ax.plot(
            places, shares[:, task], color=color, linestyle=style, linewidth=3
        )
        ax.text(
            places[-1],
            ends[task] + 7 * sides[task],
            f"{name}: {ends[task]:.0f} %",
            horizontalalignment="right",
            verticalalignment="center",
            color=color,
            fontsize=12,
            fontweight="bold",
        )


def shares_of_best(trajectory, steps):
    """Shares in percent, shape `(points, 2)`, from (0, 0) with the factor 10.

    Also returns the steps of the points.
    """
    scale, start = LOSS_SCALES.index(10.0), STARTS.tolist().index([0.0, 0.0])
    values = losses(trajectory[:, scale, start])
    places = np.linspace(0, steps, len(values))
    shown = places <= SHOWN_STEPS
    best = losses(pareto_front()).min(axis=0)
    shares = 100 * (values[0] - values) / (values[0] - best)
    return shares[shown], places[shown]


def draw_run(ax, run, color):
    ax.plot(*run.T, linewidth=1.2, color=color)
    ax.plot(*run[0], "o", color="black", markersize=4)
    end = {"color": color, "markeredgecolor": "black", "markersize": 13}
    ax.plot(*run[-1], "*", zorder=4, **end)


def draw_contours(ax, scale):
    x, y = np.meshgrid(np.linspace(-11, 11, 221), np.linspace(-11, 11, 221))
    total = losses(np.stack([x, y], axis=-1)) @ [scale, 1]
    ax.contour(x, y, total, levels=24, colors="0.75", linewidths=0.5)


def summarize(trajectories, front, steps):
    runs = []
    for method, trajectory in trajectories.items():
        for i, scale in enumerate(LOSS_SCALES):
            ends = trajectory[-1, i]
            distances = distance_to_front(ends, front)
            for start, end, distance in zip(
                STARTS, ends, distances, strict=True
            ):
                runs.append(
                    {
                        "method": method,
                        "first_loss_scale": scale,
                        "start": start.tolist(),
                        "end": np.round(end, 4).tolist(),
                        "losses": np.round(losses(end), 4).tolist(),
                        "distance_to_front": round(float(distance), 4),
                        "reached": bool(distance < REACHED),
                    }
                )
    return {
        "steps": steps,
        "learning_rate": 1e-3,
        "reached_below": REACHED,
        "backend": keras.backend.backend(),
        "runs": runs,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=35_000)
    parser.add_argument(
        "--output-dir", type=Path, default=Path(__file__).parent
    )
    parser.add_argument(
        "--images-dir",
        type=Path,
        default=Path(__file__).parents[1] / "docs" / "images",
    )
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)

    front = pareto_front()
    trajectories = {m: train(m, LOSS_SCALES, args.steps) for m in METHODS}
    summary = summarize(trajectories, front, args.steps)
    stem = args.output_dir / Path(__file__).stem
    Path(f"{stem}.json").write_text(json.dumps(summary, indent=1) + "\n")
    for space in ("variables", "losses"):
        plot(trajectories, front, space, f"{stem}_{space}.png")
    args.images_dir.mkdir(parents=True, exist_ok=True)
    picture = args.images_dir / "largest_gradient.png"
    plot_shares(trajectories, args.steps, picture)

    print("method    L1 scale  start            end               distance")
    for run in summary["runs"]:
        print(
            f"{run['method']:9} {run['first_loss_scale']:<9g} "
            f"{run['start']!s:16} {np.round(run['end'], 2)!s:17} "
            f"{run['distance_to_front']:8.4f}"
            f"{'' if run['reached'] else '  not reached'}"
        )


if __name__ == "__main__":
    main()
