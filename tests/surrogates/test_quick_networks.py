"""A student of the simulator answers whole networks: one machine and many alike, near the simulator, which answers what the student has not learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch to teach a student")

from silicast.datasets.catalog import hardware
from silicast.datasets.devices import sample_device
from silicast.datasets.errors import InputError
from silicast.datasets.ops import Op
from silicast.datasets.simulator import simulate
from silicast.datasets.table import GraphQuestions
from silicast.datasets.workload import Workload, WorkloadBuilder
from silicast.serving.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    from silicast.training.simulated import compile_simulator

    place = tmp_path_factory.mktemp("simulated") / "fast"
    compile_simulator(place, networks=30, shown=100_000, hidden=32, judged=6)
    return Predictor.load(place)


def chain(depth: int, width: int = 512, odd: str = "") -> Workload:
    build = WorkloadBuilder(f"chain{depth}x{width}", "mlp")
    x = build.input("x", 32 * width)
    for i in range(depth):
        x = build.add(Op.of(f"fc{i}", "gemm", dtype="float16", m=32, n=width, k=width, params=width * width), [x])
        x = build.add(Op.of(f"relu{i}", "elementwise", dtype="float16", elements=32 * width), [x])
    if odd:
        build.add(Op.of("odd", odd, input_elements=32 * width, output_elements=32 * width), [x])
    return build.build()


def test_one_machine_and_many_agree(predictor: Predictor) -> None:
    rng = np.random.default_rng(3)
    machines = [sample_device(rng, "gpu", [hardware("t4"), hardware("a100_sxm")]) for _ in range(40)]
    together = predictor.predict_many(GraphQuestions.cross(chain(4), machines))
    for i in (0, 7, 39):
        alone = predictor.predict(chain(4), machines[i])
        assert alone.point[0] == pytest.approx(together.point[i], rel=1e-5)
        assert alone.high[0] == pytest.approx(together.high[i], rel=1e-5)
        assert alone.domain[0].verdict == together.domain[i].verdict


def test_many_machines_are_computed_kernel_by_kernel_with_the_same_answers(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    machines = [sample_device(rng, "gpu", [hardware("t4"), hardware("a100_sxm")]) for _ in range(2200)]  # more than a chunk
    questions = GraphQuestions.cross(chain(3, 768), machines)
    crossed = predictor.predict_many(questions)
    monkeypatch.setattr("silicast.surrogates.quick_networks._MANY", 10**9)
    flat = predictor.predict_many(questions)
    for name in ("point", "low", "high"):
        np.testing.assert_allclose(getattr(crossed, name), getattr(flat, name), rtol=1e-5)
    assert [d.verdict for d in crossed.domain] == [d.verdict for d in flat.domain]


def test_near_the_simulator(predictor: Predictor) -> None:
    machines = [hardware(key) for key in ("t4", "a100_sxm", "h100_sxm", "v100_sxm", "l4")]
    told = predictor.predict_many(GraphQuestions.cross(chain(6, 1024), machines))
    truth = [simulate(chain(6, 1024), d).values["latency_s"] for d in machines]
    assert np.median(np.abs(told.point[:, 0] / truth - 1.0)) < 0.3  # taught for seconds
    assert (told.low < told.point).all()
    assert (told.point < told.high).all()
    assert told.level == 0.9
    assert "whole networks never seen" in predictor.card.extra["student"]


def test_twice_the_network_is_twice_the_time(predictor: Predictor) -> None:
    """Kernels that are equal are asked once and counted as often as they occur."""
    once, twice = (predictor.predict(chain(depth), "t4").point[0, 0] for depth in (10, 20))
    assert twice / once == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("key", ["alveo_u250", "eyeriss", "hbm_pim"])
def test_machines_of_another_make_are_simulated(predictor: Predictor, key: str) -> None:
    told = predictor.predict(chain(2), key)
    truth = simulate(chain(2), key).values
    assert told.point[0, 0] == pytest.approx(truth.get("latency_s", np.nan), nan_ok=True)
    assert np.isnan(told.low).all()
    assert not told.calibrated[0]


def test_a_mixture_keeps_its_order(predictor: Predictor) -> None:
    machines = [hardware(key) for key in ("t4", "eyeriss", "a100_sxm")]
    told = predictor.predict_many(GraphQuestions.cross(chain(2), machines))
    assert told.point[1, 0] == pytest.approx(simulate(chain(2), machines[1]).values["latency_s"])
    assert told.point[2] == pytest.approx(predictor.predict(chain(2), machines[2]).point[0], rel=1e-5)
    assert told.calibrated.tolist()[1] is False


def test_what_cannot_be_counted_is_flagged(predictor: Predictor) -> None:
    assert predictor.predict(chain(2, odd="bound"), "t4").domain[0].verdict == "unsupported"


def test_it_is_saved_and_read_again(predictor: Predictor, tmp_path: Path) -> None:
    from silicast.surrogates import store

    again = Predictor.load(store.save(predictor.surrogate, predictor.card, tmp_path / "again"))
    assert again.predict(chain(3), "t4").point == pytest.approx(predictor.predict(chain(3), "t4").point)
    with pytest.raises(InputError, match="fit the model itself"):
        again.surrogate.fit(None)  # type: ignore[arg-type]
