from keras import ops
from keras.src.saving.keras_saveable import KerasSaveable


class SavedState(KerasSaveable):
    """The part of a model's file that has the state of its `TaskSampler`.

    With it goes the state of the layers' random numbers, of dropout for
    example, which Keras does not save.

    Attributes:
        sampler: The `TaskSampler` in use, or `None`.
        seeds: List of the variables that are the state of random numbers.
        loaded: Dict of name to array, what a file had while none was in use.
    """

    def __init__(self):
        self.sampler = None
        self.seeds = []
        self.loaded = None

    def _obj_type(self):
        # Keras walks through the attributes of types that it knows.
        return "Loss"

    def save_own_variables(self, store):
        if self.sampler is not None:
            for name, value in self.sampler.get_state().items():
                store[name] = value
            for i, seed in enumerate(self.seeds):
                store[f"layer_seeds.{i}"] = ops.convert_to_numpy(seed)

    def load_own_variables(self, store):
        state = {name: store[name] for name in store.keys()}
        if not state:
            return
        if self.sampler is None:
            self.loaded = state
        else:
            self.sampler.set_state(state)
            for i, seed in enumerate(self.seeds):
                seed.assign(state[f"layer_seeds.{i}"])
