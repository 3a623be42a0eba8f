"""What `fit` compiled for the weightings that were in use before."""

import collections

# A compiled step takes memory, and the weighting of a name is never used again.
MAX_KEPT = 4

Kept = collections.namedtuple("Kept", ["weighting", "key", "function", "split"])


class KeptFunctions:
    """The training functions of a model, each for a weighting.

    They are of one `compile`, whose optimizer, losses and tasks they have.
    """

    def __init__(self):
        self._kept = []
        self._key = None

    def note_made(self, model):
        """Notes for what the present training function was made."""
        self._key = _key(model)

    def keep(self, model):
        """Keeps the training function before another weighting is set."""
        if model.train_function is None:
            return
        kept = Kept(
            model.weighting, self._key, model.train_function, model._split
        )
        others = [x for x in self._kept if x.weighting is not model.weighting]
        self._kept = [*others, kept][-MAX_KEPT:]

    def restore(self, model):
        """Sets the training function of the model, if there is one for it."""
        for kept in self._kept:
            if kept.weighting is model.weighting and kept.key == _key(model):
                model.train_function = kept.function
                model._split = kept.split


def _key(model):
    """Returns what a compiled step takes for granted."""
    return (
        tuple(map(id, model.trainable_variables)),
        tuple(map(id, model.non_trainable_variables)),
        model._task_losses.complete,
        model.run_eagerly,
        model.jit_compile,
        model.steps_per_execution,
    )
