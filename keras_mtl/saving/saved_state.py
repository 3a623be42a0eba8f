import weakref

from keras import ops

from keras_mtl.backend.keras_internals import KerasSaveable
from keras_mtl.backend.random_state import get_random_state
from keras_mtl.backend.random_state import set_random_state

SEED = "layer_seeds."
BACKEND = "generators."


class SavedState(KerasSaveable):
    """The part of a model's file for which Keras has no place.

    It is the state of the layers' random numbers, of dropout for example, and
    that of the `TaskSampler` in use.

    A training that goes on draws the numbers that come next. One that begins
    with the weights of a file draws numbers of its own, so that runs with
    different seeds differ.

    Args:
        model: The model.

    Attributes:
        sampler: The `TaskSampler` in use, or `None`.
        loaded: Dict of name to array, what a file had while no sampler was in
            use.
    """

    def __init__(self, model):
        # A reference alone: Keras looks at the attributes for what to save.
        self._model = weakref.ref(model)
        self.sampler = None
        self.loaded = None
        self._random = {}

    def _obj_type(self):
        # Keras saves the attributes of a model whose type it knows; this one
        # says that it is a loss.
        return "Loss"

    def _seeds(self):
        """Lists the states of the random numbers that the layers draw."""
        model = self._model()
        # Those of a weighting are a part of its own state.
        own = getattr(model.weighting, "variables", [])
        others = set(map(id, own))
        return [
            v
            for v in model.non_trainable_variables
            if v.name == "seed_generator_state" and id(v) not in others
        ]

    def save_own_variables(self, store):
        if self.sampler is not None:
            for name, value in self.sampler.get_state().items():
                store[name] = value
        for i, seed in enumerate(self._seeds()):
            store[f"{SEED}{i}"] = ops.convert_to_numpy(seed)
        for name, value in get_random_state().items():
            store[f"{BACKEND}{name}"] = value

    def load_own_variables(self, store):
        state = {name: store[name] for name in store.keys()}
        self._random = {
            name: state.pop(name)
            for name in list(state)
            if name.startswith((SEED, BACKEND))
        }
        if not state:
            return
        if self.sampler is None:
            self.loaded = state
        else:
            self.sampler.set_state(state)

    def begin_epoch(self, goes_on):
        """Lets the random numbers go on from the file that was loaded, if any.

        Args:
            goes_on: Whether the training goes on, and does not begin.
        """
        loaded, self._random = self._random, {}
        if not goes_on:
            return
        seeds = [v for name, v in loaded.items() if name.startswith(SEED)]
        # Another number of seeds is that of another model's file.
        own = self._seeds()
        if len(seeds) == len(own):
            for i, seed in enumerate(own):
                seed.assign(loaded[f"{SEED}{i}"])
        set_random_state(
            {
                name.removeprefix(BACKEND): value
                for name, value in loaded.items()
                if name.startswith(BACKEND)
            }
        )
