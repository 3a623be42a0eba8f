import copy
import io
import pickle
import zipfile

import numpy as np
import pytest

from keras_mtl.selection import SelectionLog

pytestmark = pytest.mark.any_backend

TASKS = ["cola", "größe ☂", "a\0"]


def make_log(steps=50, seed=0, tasks=TASKS):
    rng = np.random.default_rng(seed)
    log = SelectionLog(tasks)
    for _ in range(steps):
        log.append(
            task=int(rng.integers(len(tasks))),
            propensity=rng.uniform(1e-9, 1),
            reward=rng.normal() * 1e-200,
            loss=rng.choice([np.nan, np.inf, rng.normal()]),
        )
    return log


def assert_equal(log, expected):
    assert log.tasks == expected.tasks
    assert log.run_lengths == expected.run_lengths
    for name in ("task_indices", "propensities", "rewards", "losses"):
        column, other = getattr(log, name), getattr(expected, name)
        np.testing.assert_array_equal(column, other)
        assert column.dtype == other.dtype


@pytest.mark.parametrize("steps", [0, 1, 50])
@pytest.mark.parametrize("name", ["log", "log.npz"])
def test_round_trip(tmp_path, steps, name):
    log = make_log(steps)
    log.save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    loaded = SelectionLog.load(str(tmp_path / name))
    assert_equal(loaded, log)
    # A loaded log goes on.
    for each in (log, loaded):
        each.append(task=0, propensity=0.5, reward=1.0)
    assert_equal(loaded, log)


def test_round_trip_of_joined_logs(tmp_path):
    log = SelectionLog.join([make_log(3, 1), make_log(4, 2), make_log(5, 3)])
    log.save(tmp_path / "log")
    assert SelectionLog.load(tmp_path / "log").run_lengths == [3, 4, 5]


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    make_log().save(tmp_path / "log")
    monkeypatch.setattr(np, "savez_compressed", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_log(3).save(tmp_path / "log")
    assert_equal(SelectionLog.load(tmp_path / "log"), make_log())
    assert len(list(tmp_path.iterdir())) == 1


def test_truncated_and_damaged_files(tmp_path):
    path = tmp_path / "log"
    make_log().save(path)
    content = path.read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="to be a whole file"):
            SelectionLog.load(path)
    middle = len(content) // 3
    path.write_bytes(
        content[:middle]
        + bytes(x ^ 255 for x in content[middle : middle + 40])
        + content[middle + 40 :]
    )
    with pytest.raises(ValueError, match="to be a whole file"):
        SelectionLog.load(path)


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(value):
    file = io.BytesIO()
    np.save(file, value)
    return file.getvalue()


def encrypted():
    content = bytearray(npz(format="keras_mtl.SelectionLog 1", tasks='["a"]'))
    # The flags of the first entry, where it begins and in the directory.
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def huge():
    """Declares 80 TB, of which there are 56 bytes."""
    shapes = b"(7,), }" + 12 * b" ", b"(9999999999999,), }"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("format.npy", npy(np.zeros(7)).replace(*shapes))
    return file.getvalue()


def compressed_by_another_method():
    content = bytearray(npz(format="a"))
    content[8] = content[content.index(b"PK\x01\x02") + 10] = 99
    return bytes(content)


def other_zip():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "hello")
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"task,propensity\n0,0.5\n",
        b"\x93NUMPY",
        pickle.dumps([1, 2]),
        npy(np.zeros(3)),
        npy(np.array([{}], dtype=object)),
        npz(weights=np.zeros(3)),
        npz(format=np.array([None], dtype=object)),
        npz(format="another", tasks="[]"),
        npz(format="keras_mtl.SelectionLog 1", tasks="no JSON"),
        npz(format="keras_mtl.SelectionLog 1", tasks='["a", "b"]'),
        npz(format="keras_mtl.SelectionLog 1", tasks="3"),
        npz(format="keras_mtl.SelectionLog 1", tasks=5000 * "["),
        huge(),
        compressed_by_another_method(),
        other_zip(),
        encrypted(),
    ],
)
def test_foreign_files(tmp_path, content):
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="to be a whole file.*Received: "):
        SelectionLog.load(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        SelectionLog.load(tmp_path / "log")


@pytest.mark.parametrize(
    "change",
    [
        {"task_indices": np.array([0, 3])},
        {"task_indices": np.array([0, -1])},
        {"task_indices": np.array([0.0, 1.0])},
        {"propensities": np.array([0.5, 0.0])},
        {"propensities": np.array([0.5, np.nan])},
        {"propensities": np.array([0.5])},
        {"rewards": np.array([0.5, np.inf])},
        {"rewards": np.array(["a", "b"])},
        {"losses": np.zeros((2, 1))},
        {"ends": np.array([3])},
        {"ends": np.array([2, 1])},
        {"ends": None},
        {"more": np.zeros(2)},
    ],
)
def test_bad_state(change):
    log = make_log(2)
    state = {**log.get_state(), **change}
    state = {key: x for key, x in state.items() if x is not None}
    other = SelectionLog(TASKS)
    with pytest.raises(ValueError, match="Expected .* Received: "):
        other.set_state(state)
    assert len(other) == 0


def test_append():
    log = SelectionLog(["a", "b"])
    log.append(np.int32(1), np.float32(0.5), np.float32(0.25))
    # Sums of probabilities are rounded.
    log.append(0, 1 + 1e-15, 0)
    assert log.task_indices.tolist() == [1, 0]
    assert log.rewards.tolist() == [0.25, 0.0]
    assert np.isnan(log.losses).all()
    # A copy: the log is not changed through it.
    log.rewards[:] = 3
    assert log.rewards.tolist() == [0.25, 0.0]


@pytest.mark.parametrize(
    "step, match",
    [
        ((2, 0.5, 0.0), "`task` to be the index"),
        ((-1, 0.5, 0.0), "`task` to be the index"),
        ((0, 0.0, 0.0), "`propensity`"),
        ((0, 1.1, 0.0), "`propensity`"),
        ((0, np.nan, 0.0), "`propensity`"),
        ((0, 0.5, np.nan), "`reward` to be finite"),
        ((0, 0.5, -np.inf), "`reward` to be finite"),
    ],
)
def test_bad_steps(step, match):
    log = SelectionLog(["a", "b"])
    with pytest.raises(ValueError, match=match + ".*Received: "):
        log.append(*step)
    assert len(log) == 0


@pytest.mark.parametrize("step", [("a", 0.5, 0.0), (0, 0.5, "x"), (0.0, 1, 1)])
def test_steps_of_wrong_types_leave_nothing(step):
    log = SelectionLog(["a", "b"])
    with pytest.raises((TypeError, ValueError)):
        log.append(*step)
    with pytest.raises((TypeError, ValueError)):
        log.append(0, 0.5, 0.0, loss="x")
    assert len(log) == len(log.losses) == 0


@pytest.mark.parametrize("tasks", [[], "cola", ["a", "a"], [1, 2], None, 3])
def test_bad_tasks(tasks):
    with pytest.raises(ValueError, match="list of different names"):
        SelectionLog(tasks)


def test_join_keeps_steps_and_reorders_tasks():
    first, second = SelectionLog(["a", "b"]), SelectionLog(["b", "a"])
    first.append(1, 0.5, 1.0, 0.1)
    second.append(1, 0.25, 2.0, 0.2)
    second.append(0, 0.75, 3.0, 0.3)
    joined = SelectionLog.join([first, second])
    assert joined.tasks == ["a", "b"]
    assert joined.task_indices.tolist() == [1, 0, 1]
    assert joined.propensities.tolist() == [0.5, 0.25, 0.75]
    assert joined.rewards.tolist() == [1, 2, 3]
    assert joined.losses.tolist() == [0.1, 0.2, 0.3]
    assert joined.run_lengths == [1, 2]
    # The parts stay as they are, and joins can be joined.
    assert len(first) == 1 and len(second) == 2
    assert SelectionLog.join([joined, first]).run_lengths == [1, 2, 1]


def test_join_of_other_tasks():
    with pytest.raises(ValueError, match="the same tasks.*Received"):
        SelectionLog.join([make_log(), make_log(tasks=["x", "y", "z"])])
    with pytest.raises(ValueError, match="at least one log"):
        SelectionLog.join([])


def test_balanced_propensities_of_fixed_policies():
    policies = np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    tasks = [[0, 1, 2, 0], [2, 1, 0, 2, 2, 2]]
    logs = []
    for policy, choices in zip(policies, tasks):
        log = SelectionLog(["a", "b", "c"])
        for task in choices:
            log.append(task, policy[task], 0.0)
        logs.append(log)
    mixture = 0.4 * policies[0] + 0.6 * policies[1]
    joined = SelectionLog.join(logs)
    np.testing.assert_allclose(
        joined.balanced_propensities(), mixture[sum(tasks, [])], rtol=1e-14
    )
    # One policy alone: as they were logged.
    np.testing.assert_allclose(
        logs[0].balanced_propensities(), logs[0].propensities, rtol=1e-14
    )


def test_balanced_propensities_of_a_changing_policy():
    rng = np.random.default_rng(0)
    log, total = SelectionLog(["a", "b"]), 0.0
    for step in range(20_000):
        p = 0.2 + 0.6 * step / 20_000
        total += p
        task = int(rng.random() < p)
        log.append(task, p if task else 1 - p, 0.0)
    mean = {1: total / 20_000, 0: 1 - total / 20_000}
    np.testing.assert_allclose(
        log.balanced_propensities(),
        [mean[task] for task in log.task_indices],
        rtol=0.02,  # Of 20,000 draws.
    )


def test_copies():
    log = make_log()
    assert_equal(copy.deepcopy(log), log)
    assert_equal(pickle.loads(pickle.dumps(log)), log)
