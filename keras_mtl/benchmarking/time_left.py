import math
import statistics
import time
from collections.abc import Mapping
from collections.abc import Sequence


class TimeLeft:
    """Estimates how long a benchmark is still going to take.

    A run is taken to last as long as the mean of the runs of its weighting that
    have ended; if there are none, as long as the mean of all runs; before the
    first one has ended, as long as its own epochs let one expect.

    Args:
        labels: The label of each run that is to be done, in their order.
        seconds: Dict of label to how long each of its runs took that were done
            before.
    """

    def __init__(
        self, labels: Sequence[str], seconds: Mapping[str, Sequence[float]]
    ) -> None:
        self._labels = list(labels)
        self._seconds = {label: list(seconds[label]) for label in seconds}
        self._share = 0.0
        self.done = sum(map(len, seconds.values()))

    def start(self) -> None:
        """Begins the next run."""
        self._begin = time.perf_counter()
        self._share = 0.0

    def show(self, share: float) -> None:
        """Tells which share of the epochs of the run is done."""
        self._share = share

    def end(self) -> None:
        """Ends the run."""
        seconds = time.perf_counter() - self._begin
        label = self._labels.pop(0)
        self._seconds.setdefault(label, []).append(seconds)
        self._share = 0.0
        self.done += 1

    def seconds(self) -> float | None:
        """Returns the estimate, `None` where there is nothing to go by."""
        expected = [self._expected(label) for label in self._labels]
        if not expected:
            return 0.0
        if None in expected:
            return None
        # The share of the run that is under way is done.
        return sum(expected) - self._share * expected[0]

    def _expected(self, label: str) -> float | None:
        of_label = self._finite(self._seconds.get(label, []))
        of_all = self._finite(sum(self._seconds.values(), []))
        if of_label or of_all:
            return statistics.fmean(of_label or of_all)
        if self._share:
            return (time.perf_counter() - self._begin) / self._share
        return None

    def _finite(self, seconds: Sequence[float]) -> list[float]:
        return [x for x in seconds if math.isfinite(x)]

    def __str__(self) -> str:
        """Returns the estimate in words, or nothing."""
        seconds = self.seconds()
        if not self._labels or seconds is None:
            return ""
        minutes = round(seconds / 60)
        if seconds < 60:
            return f"about {max(1, math.ceil(seconds))} s left"
        if minutes < 60:
            return f"about {minutes} min left"
        return f"about {minutes // 60} h {minutes % 60} min left"
