"""The graph network in NumPy answers as it does in torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from silicast.datasets.errors import FormatError
from silicast.features.graph import graphs_of
from silicast.surrogates.graph_forward import neighbours
from silicast.surrogates.graphnet import GraphNet

pytest.importorskip("torch_geometric")

from .test_graphnet import DATA, again, small


def test_means_over_neighbours_by_hand() -> None:
    mean = neighbours(np.array([[0, 0, 1], [1, 2, 2]]), 3)  # 0 feeds 1 and 2, 1 feeds 2
    states = np.array([[1.0], [2.0], [4.0]], dtype=np.float32)
    assert (mean @ states).ravel().tolist() == [0.0, 1.0, 1.5, 3.0, 4.0, 0.0]


@pytest.mark.parametrize("settings", [{}, {"layers": 3, "hidden": 16}, {"pool": "attention", "places": True, "rate": 1e-2}, {"targets": ("latency_s", "dram_bytes")}])
def test_as_torch_answers(settings: dict[str, Any]) -> None:
    model = small(epochs=10, **settings).fit(DATA)
    graphs = graphs_of(DATA.questions)
    plain, shares = model._raw(graphs)
    forward, model._plain = model._plain, None
    assert forward is not None
    torch, torch_shares = model._raw(graphs)
    for name, logs in plain.items():  # logarithms: an absolute difference is a relative one of the answer
        np.testing.assert_allclose(logs, torch[name], atol=1e-5, rtol=0)
    np.testing.assert_allclose(shares, torch_shares, rtol=1e-5)
    model._plain = forward
    for i in range(len(DATA)):
        alone, _ = model._raw(graphs_of(DATA.questions.take(np.array([i]))))
        assert alone["latency_s"][0] == pytest.approx(plain["latency_s"][i], abs=1e-5)


def test_a_saved_one_learns_on() -> None:
    model = again(small().fit(DATA))
    assert model._net is None  # torch has not been asked
    before = model.predict(DATA.questions).point
    assert not np.array_equal(model.adapt(DATA, epochs=2, rate=1e-2).predict(DATA.questions).point, before)
    assert again(model).predict(DATA.questions).point.tolist() == model.predict(DATA.questions).point.tolist()


def test_weights_that_do_not_fit_are_refused() -> None:
    spec, files = small().fit(DATA).weights()
    with pytest.raises(FormatError, match="not this network's weights"):
        GraphNet.from_weights({**spec, "settings": {**spec["settings"], "hidden": 12}}, files, Path("made_up"), lambda name: GraphNet)
