import collections

import keras
import numpy as np
import pytest

from keras_mtl.agents import ReplayBuffer


def transition(i, num_tasks=2):
    vectors = np.arange(3 * num_tasks, dtype="float32") + 100 * i
    observation, action, next_observation = vectors.reshape(3, -1)
    return observation, action, np.float32(i), next_observation


def contents(buffer):
    size = int(buffer.size())
    gathered = buffer.gather(np.arange(size))
    return {k: keras.ops.convert_to_numpy(v) for k, v in gathered.items()}


@pytest.mark.parametrize("count", [0, 3, 5, 6, 13])
def test_keeps_the_last_transitions(count):
    buffer = ReplayBuffer(5)
    buffer.build(num_tasks=2)
    kept = collections.deque(maxlen=5)
    for i in range(count):
        buffer.add(*transition(i), when=True)
        kept.append(transition(i))
    found = contents(buffer)
    assert int(buffer.size()) == len(kept)
    order = np.argsort(found["reward"])
    names = ("observation", "action", "reward", "next_observation")
    for name, expected in zip(names, zip(*kept)):
        np.testing.assert_array_equal(found[name][order], expected)


def test_adds_only_when_told():
    buffer = ReplayBuffer(2)
    buffer.build(num_tasks=2)
    for i in range(5):
        buffer.add(*transition(i), when=np.array(i % 2 == 0))
    bad = [np.full_like(part, np.nan) for part in transition(5)]
    buffer.add(*bad, when=False)
    np.testing.assert_array_equal(sorted(contents(buffer)["reward"]), [2, 4])


def test_gathers_in_the_order_of_the_indices():
    buffer = ReplayBuffer(4)
    buffer.build(num_tasks=2)
    for i in range(4):
        buffer.add(*transition(i), when=True)
    batch = buffer.gather(np.array([3, 0, 3]))
    np.testing.assert_array_equal(batch["reward"], [3, 0, 3])
    np.testing.assert_array_equal(batch["action"][1], transition(0)[1])
    assert tuple(batch["next_observation"].shape) == (3, 2)
