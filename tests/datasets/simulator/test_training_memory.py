"""Memory of a training step, counted by hand on a network of three operators; sparse updates keep less, never more."""

import pytest

from silicast.datasets.errors import InputError, UnknownNameError
from silicast.datasets.layers import Net
from silicast.datasets.simulator.training_memory import training_macs, training_memory


def tiny():
    net = Net("tiny", "float32")
    net.linear(net.relu(net.linear(net.input((1, 8)), 4, name="fc1")), 2, name="fc2")
    return net.build()


def test_every_byte_of_a_step():
    # x 32 B, fc1 out 16, relu out 16, fc2 out 8; fc1 36 parameters, fc2 10. The worst moment is fc1's backward step: x kept (32), the gradient of its
    # output (16) and of its weights (144); all weights are updated in RAM (184)
    memory = training_memory(tiny())
    assert memory.saved_bytes == 32 + 16 / 32 + 16
    assert memory.updated_bytes == 184
    assert memory.frozen_bytes == 0
    assert memory.peak_bytes == 32 + 16 + 144 + 184
    # forward, the rectifier writes over its operand and keeps signs (16 / 32): x, its output and fc2's
    assert memory.forward_peak_bytes == 32 + 16 / 32 + 16 + 8
    # without applying at once, fc2's gradient (40) is still there
    assert training_memory(tiny(), in_place=False).peak_bytes == memory.peak_bytes + 40
    assert training_memory(tiny(), optimizer="adam").optimizer_bytes == 2 * 4 * 46
    assert training_memory(tiny(), optimizer="adam").peak_bytes == memory.peak_bytes + 2 * 4 * 46


def test_training_the_head_only_keeps_its_input_only():
    memory = training_memory(tiny(), {"fc2": 1.0})
    assert memory.saved_bytes == 16
    assert memory.updated_bytes == 40
    assert memory.frozen_bytes == 144
    half = training_memory(tiny(), {"fc2": 0.5})
    assert (half.saved_bytes, half.updated_bytes) == (8, 20)
    bias = training_memory(tiny(), {"fc2": 0.0})
    assert (bias.saved_bytes, bias.updated_bytes) == (0, 8)
    assert bias.peak_bytes < half.peak_bytes < memory.peak_bytes < training_memory(tiny()).peak_bytes


def test_work_of_a_step():
    # forward 32 + 8; the input gradient of fc2 only (nothing before fc1 learns); both weights
    assert training_macs(tiny()) == 40 + 8 + 40
    assert training_macs(tiny(), {"fc2": 1.0}) == 40 + 8
    assert training_macs(tiny(), {"fc1": 1.0}) == 40 + 8 + 32
    assert training_macs(tiny(), {}) == 40


def test_a_normalisation_after_the_first_update_keeps_its_input():
    net = Net("norm", "float32")
    x = net.linear(net.input((1, 8)), 16, name="fc1")
    net.linear(net.layer_norm(x), 2, name="fc2")
    work = net.build()
    assert training_memory(work, {"fc2": 1.0}).saved_bytes == 64
    assert training_memory(work, {"fc1": 1.0}).saved_bytes == 32 + 64


@pytest.mark.parametrize(("updates", "error", "said"), [
    ({"fc3": 1.0}, UnknownNameError, "fc2"), ({"fc2": 1.5}, InputError, "from 0 to 1"), ({"relu": 1.0}, InputError, "no weights"),
])
def test_impossible_updates(updates, error, said):
    work = tiny()
    relu = next(op.name for op in work.ops if op.kind == "elementwise")
    with pytest.raises(error, match=said):
        training_memory(work, {relu if name == "relu" else name: share for name, share in updates.items()})
    with pytest.raises(UnknownNameError, match="adam"):
        training_memory(work, optimizer="adamm")
