"""Which step of a model is running, for what a subclass overrides."""

import contextlib
import functools
import threading


class RunningStep:
    """The step of the training or of `evaluate` that is running, if any.

    Each thread has its own: the replicas of a strategy of TensorFlow take a
    step at the same time.

    Attributes:
        has_warned: Whether it was said that nothing is balanced without a step.
    """

    def __init__(self):
        self._threads = {}
        self._trainings = 0
        self.has_warned = False

    @property
    def kind(self):
        """Either `"train"`, `"test"` or `None`."""
        return self._of_thread("kind")

    @property
    def collector(self):
        """What takes the task losses of `compute_loss`, or `None`."""
        return self._of_thread("collector")

    @property
    def losses_to_sort(self):
        """The list that takes the losses that sort variables, or `None`."""
        return self._of_thread("losses_to_sort")

    @property
    def what_labels(self):
        """What the labels of this step are, for errors."""
        validates = self._trainings and self.kind == "test"
        return "validation labels" if validates else "labels"

    @contextlib.contextmanager
    def in_fit(self):
        """A block in which `evaluate` is on validation data."""
        self._trainings += 1
        try:
            yield
        finally:
            self._trainings -= 1

    def note_balanced(self):
        """Notes that the weighting has been asked in this step."""
        self._threads[threading.get_ident()]["is_balanced"] = True

    @contextlib.contextmanager
    def within(self, **state):
        """A block in which this thread has the values of `state`.

        Yields:
            The dict of the values.
        """
        thread = threading.get_ident()
        around = self._threads.get(thread)
        state = self._threads[thread] = {**(around or {}), **state}
        try:
            yield state
        finally:
            if around is None:
                del self._threads[thread]
            else:
                is_balanced = state.get("is_balanced")
                around["is_balanced"] = around.get("is_balanced") or is_balanced
                self._threads[thread] = around

    def _of_thread(self, name):
        if not self._threads:
            return None
        return self._threads.get(threading.get_ident(), {}).get(name)


def in_train_step(function):
    """Decorates a `train_step`, whose weighting must then be asked."""

    @functools.wraps(function)
    def train_step(model, *args, **kwargs):
        is_outer = model._running.kind is None
        with model._running.within(kind="train") as state:
            result = function(model, *args, **kwargs)
        if is_outer and not state.get("is_balanced"):
            model._check_is_balanced()
        return result

    return train_step


def in_test_step(function):
    """Decorates a `test_step`."""

    @functools.wraps(function)
    def test_step(model, *args, **kwargs):
        with model._running.within(kind="test"):
            return function(model, *args, **kwargs)

    return test_step
