"""The domain guard flags what was never seen, says why in words, and leaves what was seen alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.errors import FormatError, TableError
from silicast.datasets.families import FAMILIES, sample
from silicast.datasets.hardware import Hardware
from silicast.datasets.ops import Op
from silicast.datasets.table import FeatureQuestions, GraphQuestions, OpQuestions, Table
from silicast.datasets.workload import Workload, WorkloadBuilder
from silicast.features.domain import _labels, _nearest_machine, _outside, check, describe
from silicast.features.verdict import Domain

KEYS = ("a100_sxm", "a100_pcie", "h100_sxm", "h100_pcie", "t4", "v100_sxm", "v100_pcie", "rtx_3090", "xeon_8380", "xeon_8480")
TRAINED = ("cnn_plain", "cnn_residual", "cnn_depthwise", "nas_cell", "vit", "prefill")


def networks(count: int, first: int = 0, families: tuple[str, ...] = TRAINED) -> tuple[Workload, ...]:
    return tuple(sample(families[i % len(families)], np.random.default_rng(first + i)) for i in range(count))


def graphs(workloads: tuple[Workload, ...], devices: list[Hardware]) -> GraphQuestions:
    """Every workload on three of the machines."""
    w = np.repeat(np.arange(len(workloads)), 3)
    d = (w + np.tile(np.arange(3), len(workloads)) * 3) % len(devices)
    return GraphQuestions(workloads, tuple(devices), w, d)


def as_table(questions: Any, **slices: list[str]) -> Table:
    n = len(questions)
    return Table(questions, {"latency_s": np.ones(n)}, np.arange(n).astype(str).astype(object), pd.DataFrame(slices or {"kind": ["any"] * n}), "made up")


def machines() -> list[Hardware]:
    return [catalog.hardware(k) for k in KEYS]


@pytest.fixture(scope="module")
def trained() -> GraphQuestions:
    return graphs(networks(120), machines())


@pytest.fixture(scope="module")
def known(trained: GraphQuestions) -> dict[str, Any]:
    """The description as a card gives it back."""
    found: dict[str, Any] = json.loads(json.dumps(describe(as_table(trained)), allow_nan=False))
    return found


def on(workload: Workload, device: Hardware) -> GraphQuestions:
    return GraphQuestions.cross(workload, [device])


def test_trained_rows_are_in_domain(known: dict[str, Any], trained: GraphQuestions) -> None:
    assert {d.verdict for d in check(known, trained)} == {"in_domain"}


def test_few_unseen_workloads_on_known_machines_are_flagged(known: dict[str, Any]) -> None:
    verdicts = [d.verdict for d in check(known, graphs(networks(120, first=1000), machines()))]
    assert np.mean([v != "in_domain" for v in verdicts]) <= 0.05


def test_json_round_trip(known: dict[str, Any], trained: GraphQuestions) -> None:
    fresh = describe(as_table(trained))
    assert json.loads(json.dumps(fresh, allow_nan=False)) == known
    asked = graphs(networks(20, first=500, families=tuple(FAMILIES)), [*machines(), catalog.hardware("mi300x")])
    assert check(fresh, asked) == check(known, asked)


def test_an_unseen_kind_of_machine_is_named(known: dict[str, Any], trained: GraphQuestions) -> None:
    [verdict] = check(known, on(trained.workloads[0], catalog.hardware("tpu_v3")))
    assert verdict.verdict == "extrapolating"
    assert "kind npu" in verdict.reason


def test_a_machine_unlike_the_trained_ones_is_named(known: dict[str, Any], trained: GraphQuestions) -> None:
    [verdict] = check(known, on(trained.workloads[0], catalog.hardware("raspberry_pi_4")))
    assert verdict.verdict == "extrapolating"
    assert "machine raspberry_pi_4 was never seen" in verdict.reason
    assert "xeon" in verdict.reason  # the nearest of its kind


def test_a_sister_of_a_trained_machine_is_in_domain(known: dict[str, Any], trained: GraphQuestions) -> None:
    [verdict] = check(known, on(trained.workloads[0], catalog.hardware("a100_sxm_40gb")))
    assert verdict == Domain("in_domain")


def test_a_trained_name_with_other_figures_is_another_machine(known: dict[str, Any], trained: GraphQuestions) -> None:
    real = catalog.hardware("a100_sxm")
    changed = replace(real, clock_hz=real.clock_hz * 20, tdp_w=10.0, idle_w=None, matrix_rate={k: v * 50 for k, v in real.matrix_rate.items()})
    [verdict] = check(known, on(trained.workloads[0], changed))
    assert verdict.verdict == "extrapolating"
    assert "machine a100_sxm" in verdict.reason


def test_an_unseen_op_kind_is_named(known: dict[str, Any]) -> None:
    build = WorkloadBuilder("lstm")
    build.add(Op.of("cells", "recurrent", steps=32, batch=4, input=256, hidden=256, gates=4), [build.input("x", 32 * 4 * 256)])
    [verdict] = check(known, on(build.build(), catalog.hardware("a100_sxm")))
    assert verdict.verdict == "extrapolating"
    assert "operator kinds never trained on: recurrent" in verdict.reason


def gemms(width: int, bounded: bool = False) -> Workload:
    build = WorkloadBuilder("wide")
    x = build.input("x", 64 * width)
    for i in range(8):
        x = build.add(Op.of(f"fc{i}", "gemm", m=64, n=width, k=width, params=width * width), [x])
    if bounded:
        build.add(Op.of("mystery", "bound", input_elements=64 * width, output_elements=8), [x])
    return build.build()


def test_a_much_bigger_workload_is_named(known: dict[str, Any]) -> None:
    [verdict] = check(known, on(gemms(65536), catalog.hardware("a100_sxm")))
    assert verdict.verdict == "extrapolating"
    assert "params = 3.436e+10" in verdict.reason
    assert "outside the trained" in verdict.reason


def test_a_bounded_op_is_unsupported(known: dict[str, Any]) -> None:
    [verdict] = check(known, on(gemms(512, bounded=True), catalog.hardware("a100_sxm")))
    assert verdict.verdict == "unsupported"
    assert "mystery" in verdict.reason


def test_a_regime_never_trained_on_is_named() -> None:
    """Every figure of the workload is inside the ranges; how it runs is not: one op in place of a net."""
    known = describe(as_table(graphs(networks(60, families=("prefill", "vit")), machines())))
    build = WorkloadBuilder("odd")
    x = build.input("x", 1)
    for i in range(80):
        x = build.add(Op.of(f"m{i}", "move", elements=30_000_000 // 8), [x])
    build.add(Op.of("fc", "gemm", m=8192, n=8192, k=8192, params=8192 * 8192), [x])
    [verdict] = check(known, on(build.build(), catalog.hardware("t4")))
    assert verdict.verdict == "extrapolating"
    assert "unlike anything trained on" in verdict.reason


def test_machines_where_only_small_nets_were_trained() -> None:
    workloads = (*networks(6), *networks(6, families=("mlp",)))
    devices = (catalog.hardware("a100_sxm"), catalog.hardware("zcu102"))
    questions = GraphQuestions(workloads, devices, np.arange(12), np.array([0] * 6 + [1] * 6))
    table = as_table(questions, family=[w.family for w in workloads], kind=[devices[i].kind for i in questions.device_index])
    known = json.loads(json.dumps(describe(table), allow_nan=False))
    [verdict] = check(known, on(workloads[0], devices[1]))
    assert verdict.verdict == "unsupported"
    assert "on fpga machines only mlp workloads were trained on, none with conv" in verdict.reason
    dense = replace(gemms(64), family="mine")  # of another family, but with no operator that is new to an FPGA
    assert "fpga machines only" not in check(known, on(dense, devices[1]))[0].reason
    # the rule is no matter of FPGAs and of MLPs: turn the two about
    turned = GraphQuestions(workloads, devices[::-1], np.arange(12), np.array([0] * 6 + [1] * 6))
    table = as_table(turned, family=[w.family for w in workloads], kind=[turned.devices[i].kind for i in turned.device_index])
    [verdict] = check(describe(table), on(workloads[0], devices[0]))
    assert verdict.verdict == "unsupported"
    assert "on gpu machines only mlp" in verdict.reason


def test_a_format_the_machine_cannot_compute_is_named(known: dict[str, Any]) -> None:
    npu = catalog.hardware("ethos_u55_256")  # int8 and int16 only
    build = WorkloadBuilder("float")
    build.add(Op.of("fc", "gemm", dtype="float32", m=64, n=64, k=64), [build.input("x", 64 * 64)])
    [verdict] = check(known, on(build.build(), npu))
    assert verdict.verdict == "extrapolating"
    assert f"ethos_u55_256 has no float32 arithmetic: priced at its {npu.computed_in('float32')} rate" in verdict.reason
    [fits] = check(known, on(build.build(), catalog.hardware("t4")))
    assert "arithmetic" not in fits.reason
    quantised = WorkloadBuilder("int8")
    quantised.add(Op.of("fc", "gemm", dtype="int8", m=64, n=64, k=64), [quantised.input("x", 64 * 64)])
    assert "arithmetic" not in check(known, on(quantised.build(), npu))[0].reason
    vector = WorkloadBuilder("vector")  # float work beside the matrix units is done by the host core
    vector.add(Op.of("relu", "elementwise", dtype="float32", elements=64), [vector.input("x", 256)])
    assert "arithmetic" not in check(known, on(vector.build(), npu))[0].reason


@pytest.mark.parametrize(("ratio", "said"), [(1.001, "just beyond the usual distance"), (1.049, "just beyond the usual distance"),
                                             (1.06, "1.1 x the usual distance"), (3.0, "3.0 x the usual distance")])
def test_a_distance_just_over_its_limit_is_not_called_one_times_it(known: dict[str, Any], trained: GraphQuestions, ratio: float, said: str) -> None:
    pi = catalog.hardware("raspberry_pi_4")
    distance = _nearest_machine(known["device"], pi)[0]
    [verdict] = check({**known, "device": {**known["device"], "usual": distance / ratio}}, on(trained.workloads[0], pi))
    assert f"lies {said} from the nearest" in verdict.reason


@pytest.mark.parametrize("count", [1, 2])
def test_tiny_tables_are_described(count: int) -> None:
    questions = graphs(networks(count), machines()[:1])
    known = json.loads(json.dumps(describe(as_table(questions)), allow_nan=False))
    assert {d.verdict for d in check(known, questions)} == {"in_domain"}


def test_a_damaged_description_is_a_format_error(known: dict[str, Any], trained: GraphQuestions) -> None:
    with pytest.raises(FormatError, match="domain is damaged"):
        check({**known, "density": {**known["density"], "rows": "####"}}, trained)


def test_other_shapes_and_no_description_are_unchecked(known: dict[str, Any], trained: GraphQuestions) -> None:
    plain = FeatureQuestions(pd.DataFrame({"a": [1.0, 2.0]}))
    assert [d.verdict for d in check(known, plain)] == ["unchecked"] * 2
    assert {d.verdict for d in check({}, trained)} == {"unchecked"}
    assert check(known, trained.take(np.array([], dtype=np.int64))) == ()


def op_questions(n: int = 12, kind: str = "gemm", dtype: str = "float16", top: int = 1024) -> OpQuestions:
    sizes = {"gemm": lambda s: {"m": s, "n": s, "k": 64}, "softmax": lambda s: {"rows": s, "cols": s}, "bound": lambda s: {"input_elements": s, "output_elements": s}}
    ops = OpColumns.from_ops([Op.of("o", kind, dtype=dtype, **sizes[kind](top - 8 * i)) for i in range(n)])
    return OpQuestions(ops, ("t4", "lab"), (catalog.hardware("t4"), None), np.arange(n) % 2, pd.DataFrame({"framework": ["x", "y"] * (n // 2)}), pd.DataFrame(index=range(n)))


def test_sizes_never_so_large_together_are_told() -> None:
    """Products of up to 1,024 rows and of up to 1,024 columns, none with both: each size is within its range."""
    def asked(sizes: list[tuple[int, int]]) -> OpQuestions:
        return replace(op_questions(len(sizes)), ops=OpColumns.from_ops([Op.of("o", "gemm", dtype="float16", m=m, n=n, k=64) for m, n in sizes]))

    known = json.loads(json.dumps(describe(as_table(asked([(128, 128), *((128, n) for n in (256, 512, 1024)), *((m, 128) for m in (256, 512, 1024)), *[(256, 256)] * 5]))), allow_nan=False))
    del known["ranges"], known["density"]
    first, second = check({**known, "ranges": {"names": [], "low": [], "high": []}}, asked([(1024, 128), (1024, 1024)]))
    assert first.verdict == "in_domain"
    assert "never trained on together: m = 1024, n = 1024" in second.reason


def test_rows_are_called_by_the_sizes_they_have() -> None:
    said = [_labels(op_questions(2, kind))[0] for kind in ("gemm", "softmax", "bound")]
    assert said == ["gemm b=1 m=1024 n=1024 k=64 float16 on t4", "softmax row=1024 total_bytes=4.1943e+06 float16 on t4", "bound total_bytes=4096 float16 on t4"]


def test_ops() -> None:
    questions = op_questions()
    known = json.loads(json.dumps(describe(as_table(questions)), allow_nan=False))
    assert {d.verdict for d in check(known, questions)} == {"in_domain"}
    other = replace(questions, context=pd.DataFrame({"framework": ["z"] * 12}))
    stranger = replace(questions, device_names=("a40", "lab2"), devices=(catalog.hardware("a40"), None))
    for asked, verdict, said in (
            (op_questions(kind="softmax"), "unsupported", "operator kind softmax"), (op_questions(kind="bound"), "unsupported", "only bounded"),
            (op_questions(dtype="int8"), "extrapolating", "dtype int8"), (op_questions(top=200_000), "extrapolating", "m = "), (other, "extrapolating", "framework 'z'")):
        verdicts = check(known, asked)
        assert {d.verdict for d in verdicts} == {verdict}, said
        assert all(said in d.reason for d in verdicts), said
    assert "m = 2e+05 is outside the trained 936..1024" in check(known, op_questions(top=200_000))[0].reason  # sizes, not their logarithms
    first, second = check(known, stranger)[:2]
    assert (first.verdict, second.verdict) == ("extrapolating", "extrapolating")
    assert "device a40 was never trained on; nearest is t4" in first.reason
    assert "'lab2' was never trained on and no catalogue knows" in second.reason


def test_plain_features() -> None:
    frame = pd.DataFrame({"width": [8.0, 64.0, 512.0], "holes": [1.0, np.nan, 2.0], "empty": [np.nan] * 3, "strategy": ["latency", "resource", "latency"]})
    known = json.loads(json.dumps(describe(as_table(FeatureQuestions(frame))), allow_nan=False))
    assert {d.verdict for d in check(known, FeatureQuestions(frame))} == {"in_domain"}
    asked = frame.assign(width=[8.0, 1e6, np.nan], strategy=["turbo", "latency", "latency"])
    first, second, third = check(known, FeatureQuestions(asked))
    assert "strategy 'turbo' was never trained on" in first.reason
    assert "width = 1e+06 is outside the trained 8..512" in second.reason
    assert "width is missing" in third.reason
    with pytest.raises(TableError, match="width"):
        check(known, FeatureQuestions(frame.drop(columns="width")))
    with pytest.raises(TableError, match="numbers in the column width"):
        check(known, FeatureQuestions(frame.assign(width="wide")))


def test_bounds_are_told_with_as_many_digits_as_tell_them_apart() -> None:
    """A time stamp a month after an hour of them."""
    said = _outside({"names": ["measured_at"], "low": [1.76e9], "high": [1.76e9 + 3600.0]}, np.array([[1.7626e9], [1.76e9 + 10.0]]))
    assert said == [["measured_at = 1.7626e+09 is outside the trained 1.76e+09..1.760004e+09"], []]
