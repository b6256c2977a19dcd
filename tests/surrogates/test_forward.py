"""The network in NumPy against the same network in torch."""

from __future__ import annotations

import numpy as np
import pytest

from silicast.surrogates.forward import Forward

torch = pytest.importorskip("torch", reason="torch is not installed")


@pytest.mark.parametrize("ceilings", [0, 4])
def test_numpy_answers_as_torch_does(ceilings: int) -> None:
    from silicast.surrogates.network import network

    torch.manual_seed(0)
    net = network(7, (3, 5), 32, 2, 2, ceilings)
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.2 * torch.randn_like(value))
    net.eval()
    rng = np.random.default_rng(0)
    x, codes = rng.normal(size=(50, 7)).astype(np.float32), np.column_stack([rng.integers(0, 3, 50), rng.integers(0, 5, 50)])
    limits = rng.normal(size=(50, ceilings)).astype(np.float32)
    arrays = {name: value.numpy() for name, value in net.state_dict().items()}
    with torch.inference_mode():
        truth = net(torch.from_numpy(x), torch.from_numpy(codes), torch.from_numpy(limits)).numpy()
    np.testing.assert_allclose(Forward(arrays, 7, (3, 5), 2, 2, ceilings)(x, codes, limits), truth, rtol=1e-5, atol=1e-5)


def test_arrays_of_another_network_are_refused() -> None:
    from silicast.surrogates.network import network

    arrays = {name: value.numpy() for name, value in network(7, (3,), 16, 1, 1).state_dict().items()}
    for broken in ({k: v for k, v in arrays.items() if k != "last.bias"}, {**arrays, "first.weight": arrays["first.weight"].T}, {**arrays, "more": np.zeros(1)}):
        with pytest.raises(ValueError, match="another network"):
            Forward(broken, 7, (3,), 1, 1)
