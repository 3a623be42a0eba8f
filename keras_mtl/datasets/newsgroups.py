"""20 Newsgroups: four tasks, each to tell four related newsgroups apart.

The posts of sixteen of the twenty newsgroups, with the split by date: the
posts of the test came later than those of training. Headers name the group,
and quotes and signatures those who write in it; they are taken off, by the
rules of scikit-learn's `fetch_20newsgroups`.

References:

- [Lang, 1995](http://qwone.com/~jason/20Newsgroups/), the data.
- [Mao et al., 2021](https://aclanthology.org/2021.acl-long.428/), BanditMTL,
  table 1: the four tasks.
"""

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from keras_mtl.datasets import texts
from keras_mtl.datasets.task_data import TaskData

# The classes of each task, in the order of the paper's table.
GROUPS = {
    "comp": (
        "comp.os.ms-windows.misc",
        "comp.sys.mac.hardware",
        "comp.graphics",
        "comp.windows.x",
    ),
    "rec": (
        "rec.sport.baseball",
        "rec.sport.hockey",
        "rec.autos",
        "rec.motorcycles",
    ),
    "sci": ("sci.crypt", "sci.electronics", "sci.med", "sci.space"),
    "talk": (
        "talk.politics.mideast",
        "talk.religion.misc",
        "talk.politics.misc",
        "talk.politics.guns",
    ),
}
TASKS = tuple(GROUPS)
CLASSES = 4

_FOLDERS = {"train": "20news-bydate-train", "test": "20news-bydate-test"}
# What scikit-learn takes for a quotation, or for the line that introduces it.
_QUOTE = re.compile(
    r"(writes in|writes:|wrote:|says:|said:|^In article|^Quoted from|^\||^>)"
)


def load_posts(
    data_dir: str | os.PathLike,
    tasks: Sequence[str] = TASKS,
    validation: float = 0.1,
    posts: int | None = None,
    seed: int = 0,
) -> TaskData:
    """Reads the posts, without headers, footers and quotes.

    Training and validation have each text once, none of the test's, and no post
    of which nothing is left. The test has all of its posts.

    In some copies of the archive, posts have tabs in place of line ends. Those
    of a post without any line end are taken for line ends, with a warning.

    Example:

    ```python
    train, validation, test = newsgroups.load_posts("20news")
    train["sci"].texts[0], train["sci"].labels[0]
    ```

    Args:
        data_dir: Folder with `20news-bydate-train/<group>/<number>` and
            `20news-bydate-test/<group>/<number>`, in Latin-1.
        tasks: Names out of `TASKS`.
        validation: Share of the posts of training that becomes the validation
            split, drawn at random. That of a task is the same whichever others
            are loaded.
        posts: Number of posts that are drawn of each task's training and test,
            or `None` for all.
        seed: Integer that is not negative, draws the posts and their order.

    Returns:
        A `TaskData` of the splits `train`, `validation` and `test`, each a dict
        of task to the pair `(texts, labels)`: a list of `n` strings, and a
        float32 array of shape `(n,)`, the places of the groups in
        `GROUPS[task]`, from 0 to 3.

    Raises:
        FileNotFoundError: `data_dir` lacks a group.
        ValueError: There is no such task, a file is no post, or a split would
            be empty.
    """
    texts.check_tasks(tasks, TASKS)
    folder = Path(data_dir).expanduser()
    train = _read_split(folder, "train", tasks)
    test = _read_split(folder, "test", tasks)
    data = TaskData(
        {task: texts.without(rows, test[task]) for task, rows in train.items()},
        test={task: texts.labeled(rows) for task, rows in test.items()},
    )
    return texts.draw_splits(data, TASKS, validation, posts, seed)


def load_data(
    data_dir: str | os.PathLike,
    tasks: Sequence[str] = TASKS,
    vocabulary_size: int = 20000,
    max_words: int = 256,
    validation: float = 0.1,
    posts: int | None = None,
    seed: int = 0,
) -> TaskData:
    """Loads 20 Newsgroups for a model with one input, which all tasks share.

    Each post has the label of its own task; those of the other tasks are NaN,
    that is missing, for `MultiTaskModel`. Each split is a pair `(x, y)`:

    - `x`: `"tokens"`, int32 of shape `(n, max_words)`, the places of the
      words in the vocabulary; 0 after the last word, 1 for a word that is not
      there. Words are in lower case; punctuation is a word of its own.
    - `y`: for each task float32 of shape `(n, 1)`: the class, from 0 to 3,
      or NaN for a post of another task.

    Example:

    ```python
    train, validation, test, vocabulary = newsgroups.load_data("20news")
    model.fit(*train, validation_data=validation)
    ```

    Args:
        data_dir: See `load_posts`.
        tasks: See `load_posts`.
        vocabulary_size: Largest number of words, with the two that stand for
            padding and for unknown words. The most frequent ones of the
            training split are kept.
        max_words: Number of words of a post that are read, from its beginning.
        validation: See `load_posts`.
        posts: See `load_posts`.
        seed: See `load_posts`.

    Returns:
        A `TaskData`, which unpacks to `(train, validation, test, vocabulary)`.
        The vocabulary, also `info["vocabulary"]`, is the list of the words.

    Raises:
        FileNotFoundError: See `load_posts`.
        ValueError: See `load_posts`.

    Reference:
        [Mao et al., 2021](https://aclanthology.org/2021.acl-long.428/).
    """
    loaded = load_posts(data_dir, tasks, validation, posts, seed)
    return texts.as_tokens(loaded, vocabulary_size, max_words, seed, _words)


def _words(text):
    return re.findall(r"\w+|[^\w\s]", text.lower())


def _read_split(folder, split, tasks):
    """Returns a dict of task to a list of `(text, label)`."""
    rows = {}
    joined = total = 0
    for task in tasks:
        rows[task] = []
        for label, group in enumerate(GROUPS[task]):
            for path in _numbered(folder, _FOLDERS[split], group):
                text, was_joined = _read(path)
                rows[task].append((text, label))
                joined += was_joined
                total += 1
    if joined:
        warnings.warn(
            f"{joined} of the {total} posts in {folder / _FOLDERS[split]} have "
            "tabs in place of line ends, which are taken for line ends. "
            "Headers, quotes and footers are told apart by lines.",
            stacklevel=3,
        )
    return rows


def _numbered(folder, split, group):
    # Hidden files are those of a file manager.
    paths = [
        path
        for path in (folder / split / group).glob("*")
        if not path.name.startswith(".")
    ]
    if not paths:
        raise FileNotFoundError(
            "Expected `data_dir` to be a folder with the files "
            "`20news-bydate-{train,test}/<group>/<number>`. Received: "
            f"data_dir={str(folder)!r}, without files in '{split}/{group}'"
        )
    for path in paths:
        if not (path.name.isascii() and path.name.isdigit()):
            raise ValueError(
                f"Expected the name of a post to be a number. Received: {path}"
            )
    return sorted(paths, key=lambda path: int(path.name))


def _read(path):
    """Returns the text, and whether its line ends had to be restored."""
    # Bytes are read, since in a text file in Latin-1 Python takes more than
    # "\n" for the end of a line.
    content = path.read_bytes().decode("latin1")
    # A header alone has several lines.
    joined = "\n" not in content.strip()
    if joined:
        content = content.replace("\t", "\n")
    content = content.replace("\r\n", "\n")
    if not re.search(r"^[\w-]+:", content, re.MULTILINE):
        raise ValueError(
            "Expected a post to begin with a header, such as `From: `. "
            f"Received: line 1 of {path}, {content[:60]!r}"
        )
    # Of a few posts only the header is left.
    _, _, body = content.partition("\n\n")
    return _without_footer(_without_quotes(body)).strip(), joined


def _without_quotes(text):
    return "\n".join(x for x in text.split("\n") if not _QUOTE.search(x))


def _without_footer(text):
    """Cuts at the last line that is blank or of hyphens, unless it is first."""
    lines = text.strip().split("\n")
    blank = [i for i, line in enumerate(lines) if not line.strip().strip("-")]
    if blank and blank[-1] > 0:
        return "\n".join(lines[: blank[-1]])
    return text
