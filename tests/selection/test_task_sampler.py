"""Which batches a `TaskSampler` gives, of any kind of data, and its state."""

import keras
import numpy as np
import pytest

from keras_mtl import selection
from keras_mtl.selection import TaskSampler

BACKEND = keras.backend.backend()
SIZES = {"small": 5, "large": 40}


def arrays(size, start=0):
    """Examples that are told apart by their label."""
    y = np.arange(start, start + size)
    return y[:, None].astype("float32"), y


DATA = {
    "small": arrays(SIZES["small"]),
    "large": arrays(SIZES["large"], 100),
}


def take(sampler, steps):
    """Draws, and gives losses back; returns tasks and labels."""
    result = []
    for step in range(steps):
        task, propensity, (x, y, *_) = sampler.draw()
        sampler.update(task, propensity, 1 / (1 + step), 0.9 / (1 + step))
        y = np.asarray(y).tolist()
        assert np.ravel(np.asarray(x)).tolist() == y
        result.append((task, y))
    return result


def labels_of(batches, task):
    return [label for t, y in batches if t == task for label in y]


class Batches(keras.utils.PyDataset):
    def __init__(self, size):
        super().__init__()
        self.x, self.y = arrays(size)
        self.epochs = 0

    def __len__(self):
        return -(-len(self.y) // 4)

    def __getitem__(self, index):
        part = slice(4 * index, 4 * index + 4)
        return self.x[part], self.y[part]

    def on_epoch_end(self):
        self.epochs += 1


class EndlessBatches(Batches):
    num_batches = None

    def __getitem__(self, index):
        return super().__getitem__(index % 3)


def tf_dataset(size):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices(arrays(size))
    return data.shuffle(size, seed=3).batch(4)


def torch_loader(size):
    torch = pytest.importorskip("torch")
    x, y = arrays(size)
    data = torch.utils.data.TensorDataset(
        torch.from_numpy(x), torch.from_numpy(y)
    )
    return torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)


def generator(size):
    while True:
        yield from Batches(size)


def test_each_task_is_cycled_by_itself():
    sampler = TaskSampler(DATA, [0.5, 0.5], batch_size=4, seed=0)
    batches = take(sampler, 60)
    for task, (start, size) in enumerate([(0, 5), (100, 40)]):
        seen = labels_of(batches, task)
        passes = [seen[i : i + size] for i in range(0, len(seen), size)]
        for one in passes[:-1]:
            assert sorted(one) == list(range(start, start + size))
        assert passes[0] != passes[1]
    assert {len(y) for _, y in batches} == {4}


def test_without_shuffling():
    sampler = TaskSampler(DATA, [1.0, 0.0], batch_size=4, shuffle=False)
    batches = take(sampler, 3)
    assert labels_of(batches, 0) == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


@pytest.mark.parametrize("make", [Batches, tf_dataset, torch_loader, generator])
def test_other_kinds_of_data(make):
    data = {"a": make(10), "b": DATA["small"]}
    sampler = TaskSampler(
        data, [0.8, 0.2], batch_size=2, steps_per_epoch=10, seed=0
    )
    seen = labels_of(take(sampler, 40), 0)
    passes = [seen[i : i + 10] for i in range(0, len(seen), 10)]
    assert len(passes) > 5
    for one in passes[:-1]:
        assert sorted(one) == list(range(10))
    if make is not generator:
        assert passes[0] != passes[1]
    if make is Batches:
        assert data["a"].epochs == len(passes) - 1


def test_dict_inputs_weights_and_labels_by_name():
    x, y = DATA["small"]
    data = {
        "a": ({"u": x, "v": 2 * x}, {"a": y}, {"a": y / 10}),
        "b": ({"u": x, "v": x}, y),
    }
    sampler = TaskSampler(data, [1.0, 0.0], batch_size=3, seed=0)
    _, _, (x, y, weight) = sampler.draw()
    y = np.asarray(y)
    np.testing.assert_array_equal(np.asarray(x["u"])[:, 0], y)
    np.testing.assert_array_equal(np.asarray(x["v"])[:, 0], 2 * y)
    np.testing.assert_allclose(np.asarray(weight), y / 10)
    x, y, weight = sampler[0]
    assert list(y) == list(weight) == ["a"]


def test_sizes_and_lengths():
    sampler = TaskSampler(DATA, "size_proportional", batch_size=4)
    assert len(sampler) == sampler.num_batches == 2 + 10
    assert isinstance(sampler, keras.utils.PyDataset)
    np.testing.assert_allclose(sampler.policy.probabilities, [1 / 9, 8 / 9])
    data = {"a": Batches(10), "b": DATA["large"]}
    sampler = TaskSampler(data, "size_proportional", batch_size=4)
    # Three batches, of which the first two have four examples.
    assert sampler.policy.probabilities[0] <= 12 / 52
    assert len(sampler) == 3 + 10
    assert sampler.tasks == ["a", "b"]


def test_rewards_by_default():
    kind = TaskSampler(DATA, selection.Exp3S()).reward
    assert isinstance(kind, selection.PredictionGain)
    kind = TaskSampler(DATA).reward
    assert isinstance(kind, selection.FallingLoss)
    kind = TaskSampler(DATA, reward="prediction_gain").reward
    assert isinstance(kind, selection.PredictionGain)


def test_seeds():
    first, again = (
        take(TaskSampler(DATA, seed=3, batch_size=4), 30) for _ in range(2)
    )
    assert first == again
    assert take(TaskSampler(DATA, seed=4, batch_size=4), 30) != first
    for _ in range(2):
        keras.utils.set_random_seed(7)
        first, again = again, take(TaskSampler(DATA, batch_size=4), 30)
    assert first == again


def test_workers_change_nothing():
    one, many = (
        TaskSampler(DATA, "exp3s", batch_size=4, seed=3, workers=workers)
        for workers in (1, 3)
    )
    for sampler in (one, many):
        sampler.policy._reservoir.rng = np.random.default_rng(0)
    assert take(one, 50) == take(many, 50)
    for key, value in one.get_state().items():
        np.testing.assert_array_equal(value, many.get_state()[key], key)


@pytest.mark.parametrize(
    "make", [None, Batches, EndlessBatches, tf_dataset, generator]
)
@pytest.mark.parametrize("policy", ["exp3s", "uniform"])
def test_state(make, policy):
    def sampler(seed, workers=1):
        data = {**DATA, "other": make(10)} if make else DATA
        return TaskSampler(
            data,
            selection.Exp3S(0.1, seed=seed) if policy == "exp3s" else policy,
            batch_size=4,
            steps_per_epoch=10,
            seed=seed,
            workers=workers,
        )

    keras.utils.set_random_seed(0)
    first = sampler(1)
    take(first, 37)
    state = first.get_state()
    assert len(first.log) == 37
    second = sampler(2, workers=2)
    take(second, 11)
    if make in (tf_dataset, generator):
        # As in a new process, where the data begin anew.
        keras.utils.set_random_seed(0)
        second = sampler(2)
    second.set_state(state)
    assert take(first, 30) == take(second, 30)
    expected = first.get_state()
    for key, value in second.get_state().items():
        np.testing.assert_array_equal(value, expected[key], key)


def test_state_of_other_tasks():
    other = TaskSampler({"x": DATA["small"], "y": DATA["large"]})
    with pytest.raises(ValueError, match="tasks.*small.*Received: one of"):
        TaskSampler(DATA).set_state(other.get_state())


def test_log_and_deferred_losses():
    sampler = TaskSampler(DATA, [0.25, 0.75], batch_size=4, seed=0)
    take(sampler, 8)
    log = sampler.log
    np.testing.assert_allclose(log.losses, 1 / np.arange(1, 9))
    np.testing.assert_allclose(
        log.propensities, np.array([0.25, 0.75])[log.task_indices]
    )
    reward = selection.FallingLoss()
    reward.build(2)
    expected = [reward(i, x) for i, x in zip(log.task_indices, log.losses)]
    np.testing.assert_allclose(log.rewards, expected)


class Undefined(selection.Reward):
    def __call__(self, task, loss, loss_after=None):
        return float("nan")


def test_rewards_that_are_not_finite():
    sampler = TaskSampler(DATA, "exp3s", reward=Undefined())
    take(sampler, 3)
    assert sampler.log.rewards.tolist() == [0.0] * 3


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"data": []}, "dict of task to its data. Received: list"),
        ({"data": {"a": (1, 2, 3, 4)}}, "task 'a'.*Received: a tuple of"),
        ({"data": {"a": DATA["small"][:1]}}, r"\['ndarray'\]"),
        ({"data": {"a": (np.zeros((0, 1)), np.zeros(0))}}, "one example"),
        ({"batch_size": 0}, "positive. Received: batch_size=0"),
        ({"steps_per_epoch": -1}, "Received: steps_per_epoch=-1"),
        ({"reward": "gain"}, "one of .*falling_loss.*Received: reward='gain'"),
        ({"policy": [0.2, 0.3, 0.5]}, "Expected 3 tasks.*Received: 2 tasks"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        TaskSampler(**{"data": DATA, **arguments})


def test_unknown_number_of_batches():
    with pytest.raises(ValueError, match=r"`steps_per_epoch`.*\['b'\]"):
        TaskSampler({"a": DATA["small"], "b": generator(10)})


def test_data_that_end():
    data = {"a": (batch for batch in list(Batches(10)))}
    sampler = TaskSampler(data, steps_per_epoch=9)
    take(sampler, 3)
    with pytest.raises(ValueError, match="task 'a'.*again and again"):
        sampler.draw()


def test_batches_without_labels():
    class Unlabelled(Batches):
        def __getitem__(self, index):
            return self.x[:4]

    with pytest.raises(ValueError, match="task 'a'.*Received: ndarray"):
        TaskSampler({"a": Unlabelled(10)}, [1.0])
