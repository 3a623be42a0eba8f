"""QM9, eleven properties: every weighting, each tuned in as many trials.

The data and the network of `qm9.py`, where all methods have one learning rate
and the last epoch is tested. Here the search, and what is compared, are those
of `comparison.py`: each method has its own learning rate, the epoch is chosen
on the validation molecules, and fixed weights that a search found are among the
methods. So is what an agent or a solver must beat: random weights (`random`),
random weights of log L (`random/L`), and IGBv1 before Nash-MTL.

    python experiments/qm9_tuned.py
    python experiments/qm9_tuned.py --weightings equal tuned ldc_mtl
    python experiments/qm9_tuned.py --molecules 200 --epochs 2 --seeds 0 \
        --weightings equal nash_mtl --output-dir /tmp/qm9_tuned

20 epochs of the 4,000 training molecules are 1,260 steps. The runs are kept in
`qm9_tuned_*_runs.jsonl`: what is there is not trained again. The results are in
`qm9_tuned.json` and `qm9_tuned.png`.

References:

- Dai et al., "Improvable Gap Balancing for Multi-Task Learning", UAI 2023,
  https://arxiv.org/abs/2307.15429, section 5.1 and table 2.
- Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022,
  https://arxiv.org/abs/2202.01017, section 6.1 and table 1.
"""

import comparison

import keras_mtl
from keras_mtl.datasets import qm9
from keras_mtl.models import message_passing

METHODS = [
    *("equal", "tuned", "scale_invariant", "uncertainty", "igb_v1", "igb_v2"),
    *("nash_mtl", "random", "random/L", "dwa", "bandit_mtl", "mgda"),
    *("ldc_mtl", "uw_so", "imgrad", "ntkmtl"),
    *("pcgrad", "cagrad", "imtl_g", "igb_v1+nash_mtl"),
]


def problem_of(arguments):
    data = qm9.load_data(
        arguments.molecules, seed=0, data_dir=arguments.data_dir
    )
    tasks = data.tasks
    statistics = data.info["statistics"]
    examples = len(data.train[0]["atoms"])

    def compile_args(learning_rate, epochs):
        return {
            "optimizer": comparison.adam(
                learning_rate, epochs, examples, arguments.batch_size
            ),
            "loss": dict.fromkeys(tasks, "mse"),
            "metrics": {task: ["mae"] for task in tasks},
        }

    return comparison.Problem(
        name="qm9_tuned",
        data=data,
        build=lambda: keras_mtl.MultiTaskModel(*message_passing(tasks)),
        compile_args=compile_args,
        metrics=dict.fromkeys(tasks, "mae"),
        batch_size=arguments.batch_size,
        learning_rates=[1.5e-3, 4e-3, 1.2e-2],
        select="mae",
        scale={f"{task}_mae": statistics[task].std for task in tasks},
    )


def main(argv=None):
    parser = comparison.parser_of(__doc__, epochs=20, methods=METHODS)
    parser.add_argument("--molecules", type=int, default=5000)
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args(argv)
    problem = problem_of(arguments)
    content = comparison.compare(
        problem, arguments, ("molecules", "batch_size")
    )
    comparison.draw(content, arguments.output_dir / "qm9_tuned.png")


if __name__ == "__main__":
    main()
