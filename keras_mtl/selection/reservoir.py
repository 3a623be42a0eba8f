import bisect

import numpy as np


class Reservoir:
    """A uniform sample, of bounded size, of all values that were added.

    Example:

    >>> reservoir = Reservoir(100, np.random.default_rng(0))
    >>> for value in [4.0, 1.0, 3.0, 2.0, 5.0]:
    ...     reservoir.add(value)
    >>> reservoir.quantile(0.25)
    2.0

    Args:
        size: Number of values that are kept.
        rng: A `np.random.Generator`.

    Reference:
        Vitter, "Random sampling with a reservoir", ACM Transactions on
        Mathematical Software, 1985, algorithm R.
    """

    def __init__(self, size: int, rng: np.random.Generator):
        self.size = size
        self.rng = rng
        self.count = 0
        # The values are sorted, which makes a quantile a look-up. Their order
        # is free, since the one that gives way is drawn at random.
        self._values = []

    def add(self, value: float) -> None:
        self.count += 1
        if self.count > self.size:
            index = self.rng.integers(self.count)
            if index >= self.size:
                return
            del self._values[index]
        bisect.insort(self._values, value)

    def quantile(self, q: float) -> float:
        """The quantile at `q` in [0, 1], interpolated as `np.quantile` does."""
        position = q * (len(self._values) - 1)
        below = int(position)
        low, *rest = self._values[below : below + 2]
        return low + (position - below) * (rest[0] - low) if rest else low

    def get_state(self) -> dict[str, np.ndarray]:
        values = np.full(self.size, np.nan)
        values[: len(self._values)] = self._values
        return {"values": values, "count": np.array(self.count, "int64")}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        self.count = int(state["count"])
        values = np.asarray(state["values"], "float64")
        self._values = values[: min(self.count, self.size)].tolist()
