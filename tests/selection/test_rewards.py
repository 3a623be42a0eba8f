import numpy as np
import pytest

from keras_mtl import selection


def test_prediction_gain():
    reward = selection.PredictionGain()
    reward.build(2)
    assert reward.needs_loss_after
    assert reward(0, loss=2.0, loss_after=1.25) == 0.75
    assert reward(1, loss=np.float32(1.0), loss_after=np.float32(1.5)) == -0.5
    for loss in (np.nan, np.inf):
        assert reward(0, loss, 1.0) == reward(0, 1.0, loss) == 0.0
    with pytest.raises(ValueError, match="Expected `loss_after`"):
        reward(0, 1.0)


def test_falling_loss_is_equation_16():
    reward = selection.FallingLoss()
    reward.build(3)
    rng = np.random.default_rng(0)
    history = []
    for _ in range(300):
        task, loss = int(rng.integers(3)), rng.exponential()
        earlier = [x for k, x in history if k == task]
        expected = 0.0
        if earlier and loss - earlier[-1] < 0:
            expected = 1.0 - np.exp(-loss)
        np.testing.assert_allclose(reward(task, loss), expected, rtol=1e-12)
        history.append((task, loss))


def test_falling_loss_of_unusual_losses():
    reward = selection.FallingLoss()
    reward.build(1)
    assert reward(0, np.inf) == 0
    assert reward(0, 800.0) == 1
    # NaN is not remembered: the next loss is compared with that before.
    assert reward(0, np.nan) == 0
    assert reward(0, 700.0) == 1
    assert reward(0, 700.0) == 0
    assert reward(0, 1e-20) == pytest.approx(1e-20, rel=1e-12)
    assert reward(0, -1.0) == 0
    assert reward(0, -2.0) == 0


def test_falling_loss_must_be_built():
    with pytest.raises(ValueError, match="build"):
        selection.FallingLoss()(0, 1.0)
    reward = selection.FallingLoss()
    reward.build(2)
    with pytest.raises(ValueError, match="Expected 2 tasks"):
        reward.build(3)


def test_state():
    reward, restored = selection.FallingLoss(), selection.FallingLoss()
    reward.build(2)
    restored.build(2)
    reward(1, 2.0)
    restored.set_state(reward.get_state())
    assert restored(1, 1.0) == reward(1, 1.0) > 0
    assert restored(0, 1.0) == 0
    with pytest.raises(ValueError, match="the state of FallingLoss"):
        restored.set_state({"last": np.zeros(3)})
    assert selection.PredictionGain().get_state() == {}
