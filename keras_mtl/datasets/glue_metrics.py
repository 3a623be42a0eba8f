"""The metrics of GLUE, of labels and predictions of shape `(n,)`."""

import numpy as np


def _scipy_stats():
    try:
        from scipy import stats
    except ImportError as error:
        raise ImportError(_MISSING.format("SciPy")) from error
    return stats


def _sklearn_metrics():
    try:
        from sklearn import metrics
    except ImportError as error:
        raise ImportError(_MISSING.format("scikit-learn")) from error
    return metrics


_MISSING = (
    "The metrics of GLUE need {}, which is not installed. Type `pip install "
    "scipy scikit-learn`."
)


def _accuracy(labels, predictions):
    return np.mean(labels == predictions)


def _f1(labels, predictions):
    # Every class but 1 counts as 0, even one that the task does not have.
    return _sklearn_metrics().f1_score(
        labels == 1, predictions == 1, zero_division=0.0
    )


def _correlation(name):
    """Returns the function of SciPy's correlation, 0 where it has none."""

    def correlation(labels, predictions):
        function = getattr(_scipy_stats(), name)
        if not np.ptp(labels) or not np.ptp(predictions):
            return 0.0
        return function(labels, predictions).statistic

    return correlation


METRICS = {
    "accuracy": _accuracy,
    "f1": _f1,
    # Matthews' correlation of two classes is Pearson's.
    "matthews": _correlation("pearsonr"),
    "pearson": _correlation("pearsonr"),
    "spearman": _correlation("spearmanr"),
}
