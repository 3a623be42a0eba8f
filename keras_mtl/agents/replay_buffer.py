from typing import Any

import keras
from keras import ops

from keras_mtl.agents.state import load_state

Tensor = Any


class ReplayBuffer(keras.layers.Layer):
    """The last transitions that an agent has seen, in a ring.

    Args:
        capacity: Number of transitions that are kept.

    Example:

    >>> buffer = keras_mtl.agents.ReplayBuffer(10)
    >>> buffer.build(num_tasks=1)
    >>> buffer.add([0.1], [0.2], 3.0, [0.4], when=True)
    >>> buffer.gather(np.array([0]))["reward"]
    [3.0]
    """

    def __init__(self, capacity: int, **kwargs: Any):
        kwargs.setdefault("dtype", "float32")
        kwargs.setdefault("trainable", False)
        super().__init__(**kwargs)
        self.capacity = capacity

    def build(self, num_tasks: int) -> None:
        self.num_tasks = num_tasks
        # A transition is one row, so that adding it is one write.
        self.rows = self.add_weight(
            (self.capacity, 3 * num_tasks + 1),
            "zeros",
            trainable=False,
            name="rows",
        )
        self.added = self.add_weight(
            (), "zeros", "int32", trainable=False, name="added"
        )

    def size(self) -> Tensor:
        """Number of transitions that it holds, an int32 tensor."""
        return ops.minimum(ops.convert_to_tensor(self.added), self.capacity)

    def add(
        self,
        observation: Tensor,
        action: Tensor,
        reward: Tensor,
        next_observation: Tensor,
        when: Tensor,
    ) -> None:
        """Adds a transition, in place of the oldest one if the ring is full.

        Args:
            observation: Float tensor of shape `(T,)`.
            action: Float tensor of shape `(T,)`.
            reward: Float tensor, a scalar.
            next_observation: Float tensor of shape `(T,)`.
            when: Boolean tensor, a scalar; nothing changes where it is False.
        """
        parts = [
            observation,
            action,
            ops.reshape(reward, (1,)),
            next_observation,
        ]
        row = ops.concatenate(
            [ops.convert_to_tensor(part, "float32") for part in parts]
        )
        when = ops.convert_to_tensor(when, "bool")
        rows = ops.convert_to_tensor(self.rows)
        place = ops.convert_to_tensor(self.added) % self.capacity
        # XLA on TensorFlow would compile `ops.slice` anew for each place.
        old = ops.take(rows, place[None], axis=0)
        row = ops.where(when, row[None], old)
        start = ops.stack([place, ops.zeros_like(place)])
        self.rows.assign(ops.slice_update(rows, start, row))
        self.added.assign(self.added + ops.cast(when, "int32"))

    def gather(self, indices: Tensor) -> dict[str, Tensor]:
        """Returns transitions, dict of tensors as agents take them.

        Args:
            indices: Integer tensor of shape `(B,)`, below `size()`.
        """
        tasks = self.num_tasks
        rows = ops.take(ops.convert_to_tensor(self.rows), indices, axis=0)
        return {
            "observation": rows[:, :tasks],
            "action": rows[:, tasks : 2 * tasks],
            "reward": rows[:, 2 * tasks],
            "next_observation": rows[:, 2 * tasks + 1 :],
        }

    def load_own_variables(self, store: Any) -> None:
        load_state(self, store)
