"""Traces against the protobuf library, against hand-made bytes, there and back, and algorithms written out as traces."""

from __future__ import annotations

import doctest
import gzip
import json
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from silicast.datasets.errors import FormatError, GraphError, InputError, UnknownNameError, UnsupportedOpError
from silicast.datasets.frontends import read
from silicast.datasets.frontends.chakra import product_of, read_trace, to_trace, to_workload, write_chakra
from silicast.datasets.frontends.chakra_collectives import ring_all_reduce
from silicast.datasets.frontends.chakra_json import documents, from_json, to_json
from silicast.datasets.frontends.chakra_schema import COMM_TYPES, NODE_TYPES, VALUE_FIELDS, Attribute, Node, Trace
from silicast.datasets.frontends.chakra_wire import varint
from silicast.datasets.frontends.hf import read_config
from silicast.datasets.ops import COLLECTIVES, Op
from silicast.datasets.workload import WorkloadBuilder

SAMPLES = {"double": 2.5, "float": 0.5, "int32": -7, "int64": -2**60, "uint32": 2**32 - 1, "uint64": 2**64 - 1, "sint32": -3, "sint64": -2**62, "fixed32": 9, "fixed64": 2**63,
           "sfixed32": -9, "sfixed64": -2**62, "bool": True, "string": "ñ", "bytes": b"\x00\xff"}


@pytest.fixture(scope="module")
def proto():
    """The public schema's messages, built by the protobuf library from the numbers in its text."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="et.proto", package="ChakraProtoMsg", syntax="proto3")

    def message(name, *entries):
        m = file.message_type.add(name=name)
        for label, number, kind, many in entries:
            f = m.field.add(name=label, number=number, label=kinds.LABEL_REPEATED if many else kinds.LABEL_OPTIONAL)
            if kind.startswith("."):
                f.type, f.type_name = kinds.TYPE_MESSAGE, f".ChakraProtoMsg{kind}"
            else:
                f.type = getattr(kinds, f"TYPE_{kind.upper()}")
        return m

    for kind in VALUE_FIELDS:
        message(f"{kind.capitalize()}List", ("values", 1, kind, True))
    a = message("AttributeProto", ("name", 1, "string", False), ("doc_string", 2, "string", False))
    a.oneof_decl.add(name="value")
    number = 3
    for kind in ("double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32", "sfixed64", "bool", "string", "bytes"):
        a.field.add(name=f"{kind}_val", number=number, type=getattr(kinds, f"TYPE_{kind.upper()}"), label=1, oneof_index=0)
        a.field.add(name=f"{kind}_list", number=number + 1, type=kinds.TYPE_MESSAGE, type_name=f".ChakraProtoMsg.{kind.capitalize()}List", label=1, oneof_index=0)
        number += 2
    message("GlobalMetadata", ("version", 1, "string", False), ("attr", 2, ".AttributeProto", True))
    message("IOInfo", ("values", 1, "string", False), ("shapes", 2, "string", False), ("types", 3, "string", False))
    message("Node", ("id", 1, "uint64", False), ("name", 2, "string", False), ("type", 3, "int32", False), ("ctrl_deps", 4, "uint64", True), ("data_deps", 5, "uint64", True),
            ("start_time_micros", 6, "uint64", False), ("duration_micros", 7, "uint64", False), ("inputs", 8, ".IOInfo", False), ("outputs", 9, ".IOInfo", False),
            ("attr", 10, ".AttributeProto", True))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {m.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"ChakraProtoMsg.{m.name}")) for m in file.message_type}


def _rich() -> Trace:
    values = tuple(Attribute(f"one {kind}", kind, value) for kind, value in SAMPLES.items())
    lists = tuple(Attribute(f"many {kind}", kind, () if kind == "double" else (value, value), many=True) for kind, value in SAMPLES.items())
    nodes = (Node(0, "first", "COMP_NODE", attributes=values, start_micros=5, duration_micros=300), Node(300, "", "MEM_LOAD_NODE", (0,), (0, 2**63), lists, inputs=("[1]", "[[2]]", "")))
    return Trace(nodes, attributes=(Attribute("rank", "int64", 0, doc="which"),))


def test_bytes_are_those_of_the_protobuf_library(proto):
    trace = _rich()
    written = []
    head = proto["GlobalMetadata"](version="0.0.4")
    head.attr.add(name="rank", doc_string="which", int64_val=0)
    for m in (head, *(_by_library(proto, n) for n in trace.nodes)):
        body = m.SerializeToString(deterministic=True)
        written.append(varint(len(body)) + body)
    assert trace.to_bytes() == b"".join(written)
    assert Trace.from_bytes(b"".join(written)) == trace


def _by_library(proto, n):
    m = proto["Node"](id=n.id, name=n.name, type=NODE_TYPES.index(n.type), ctrl_deps=n.ctrl_deps, data_deps=n.data_deps, start_time_micros=n.start_micros,
                      duration_micros=n.duration_micros)
    for label in ("inputs", "outputs"):
        texts = getattr(n, label)
        if any(texts):
            at = getattr(m, label)
            at.values, at.shapes, at.types = texts
    for a in n.attributes:
        if a.many:
            into = m.attr.add(name=a.name, doc_string=a.doc)
            into_list = getattr(into, f"{a.kind}_list")
            into_list.SetInParent()
            into_list.values.extend(a.value)
        else:
            m.attr.add(name=a.name, doc_string=a.doc, **{f"{a.kind}_val": a.value})
    return m


def test_a_node_by_hand():
    # id 1, name "a", COMM_COLL_NODE, waits for 0; comm_size int64 300, comm_type int64 0 (all-reduce)
    size = b"\x0a\x09comm_size" + b"\x48\xac\x02"
    kind = b"\x0a\x09comm_type" + b"\x48\x00"
    node = b"\x08\x01\x12\x01a\x18\x07\x2a\x01\x00" + b"\x52" + bytes([len(size)]) + size + b"\x52" + bytes([len(kind)]) + kind
    head = b"\x0a\x050.0.4"
    first = b"\x12\x01c\x18\x04\x52\x0c\x0a\x07num_ops\x48\xd0\x0f"
    trace = Trace.from_bytes(b"".join(bytes([len(m)]) + m for m in (head, first, node)))
    assert trace == Trace((Node(0, "c", "COMP_NODE", attributes=(Attribute("num_ops", "int64", 2000),)),
                           Node(1, "a", "COMM_COLL_NODE", (0,), (), (Attribute("comm_size", "int64", 300), Attribute("comm_type", "int64", 0)))))
    w = to_workload(trace, ranks=8)
    assert (w.ops[0].kind, w.ops[0].flops) == ("gemm", 2000.0)
    assert w.ops[1].dims == {"elements": 300, "ranks": 8}
    assert w.edges.tolist() == [[0, 1]]


@pytest.mark.parametrize("suffix", [".et", ".json"])
def test_workloads_leave_and_come_back_equal(suffix, tmp_path):
    config = {"model_type": "mixtral", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100}
    for phase in ("decode", "train"):
        w = read_config(config).workload(phase, batch=2, tokens=4, tensor=2, expert=2, collectives=True, dtype="int4_wo")
        assert {op.kind for op in w.ops} & set(COLLECTIVES)
        path = tmp_path / f"rank0{suffix}"
        write_chakra(w, path)
        back = read(path)
        assert back == w
        assert (back.notes, [op.source for op in back.ops]) == (w.notes, [op.source for op in w.ops])
        assert read_trace(path) == to_trace(w)


def test_traces_come_back_equal_as_json():
    trace = _rich()
    assert from_json(documents(to_json(trace).encode())) == trace
    stream = "\n".join(json.dumps(d) for d in (json.loads(to_json(trace))["metadata"], *json.loads(to_json(trace))["nodes"]))
    assert from_json(documents(stream.encode())) == trace


def test_what_other_simulators_read_is_there():
    b = WorkloadBuilder("w")
    x = b.add(Op.of("product", "gemm", m=4, n=8, k=16), [b.input("x", 64)])
    b.add(Op.of("sum", "all_reduce", elements=32, ranks=4), [x])
    b.add(Op.of("part", "reduce_scatter", elements=32, ranks=4), [x])
    first, second, third = to_trace(b.build()).nodes
    assert (first.type, first.get("num_ops"), first.get("tensor_size")) == ("COMP_NODE", 2 * 4 * 8 * 16, 2 * (4 * 16 + 16 * 8 + 4 * 8))
    assert (second.type, second.get("comm_type"), second.get("comm_size"), second.data_deps) == ("COMM_COLL_NODE", COMM_TYPES.index("ALL_REDUCE"), 64, (0,))
    assert third.get("comm_type") == COMM_TYPES.index("REDUCE_SCATTER")


def test_a_ring_by_its_sums():
    ranks = 5
    traces = ring_all_reduce(ranks, 5 * 2 * 30)
    # parts[rank] holds who is summed in each part; play all ranks in lock step
    parts = [[{r} for _ in range(ranks)] for r in range(ranks)]
    for step in range(2 * (ranks - 1)):
        mail = {}
        for r, trace in enumerate(traces):
            sent = next(n for n in trace.nodes if n.type == "COMM_SEND_NODE" and n.get("comm_tag") == step)
            mail[sent.get("comm_dst")] = (int(sent.name.split()[-1]), set(parts[r][int(sent.name.split()[-1])]))
        for r, trace in enumerate(traces):
            came = next(n for n in trace.nodes if n.type == "COMM_RECV_NODE" and n.get("comm_tag") == step)
            part, who = mail[r]
            assert part == int(came.name.split()[-1])
            assert came.get("comm_src") == (r - 1) % ranks
            parts[r][part] = parts[r][part] | who if step < ranks - 1 else who
    assert all(part == set(range(ranks)) for rank in parts for part in rank)
    sizes = [n.get("comm_size") for n in traces[0].nodes if n.type == "COMM_SEND_NODE"]
    assert sum(sizes) == 2 * (ranks - 1) * 300 // ranks
    w = to_workload(traces[0])
    assert [op.kind for op in w.ops].count("send") == 4 * (ranks - 1)
    for wrong in ((1, 64), (4, 63), (4, 0), (3, 64)):
        with pytest.raises(InputError):
            ring_all_reduce(*wrong)


@pytest.mark.parametrize(("flops", "nbytes"), [(2 * 10**12, 8 * 10**8), (2 * 4096**3, 6 * 4096**2), (2 * 10**9 + 14, 2 * 10**9), (2**61, 2**50), (10**15, 10**12)])
def test_products_of_strangers(flops, nbytes):
    m, n, k = product_of(flops, nbytes)
    assert 2 * m * n * k == pytest.approx(flops, rel=1e-6)
    assert 2 * (m * n + n * k + m * k) == pytest.approx(nbytes, rel=0.35)


def _node(number, kind, deps=(), **values) -> Node:
    return Node(number, f"n{number}", kind, tuple(deps), (), tuple(Attribute(name, "int64", value) for name, value in values.items()))


def test_a_strangers_trace(tmp_path):
    nodes = (_node(9, "METADATA_NODE"), _node(4, "COMM_COLL_NODE", (7,), comm_type=2, comm_size=64), _node(7, "COMP_NODE", (3, 9), num_ops=2 * 8**3, tensor_size=384),
             _node(3, "MEM_LOAD_NODE", (9,), tensor_size=128), _node(5, "COMM_SEND_NODE", (4,), comm_size=10), _node(6, "COMM_RECV_NODE", (4,), comm_size=10))
    path = tmp_path / "rank.et"
    path.write_bytes(gzip.compress(Trace(nodes).to_bytes()))
    w = read(path, dims={"ranks": 4})
    assert [op.kind for op in w.ops] == ["move", "gemm", "all_gather", "send", "send"]
    assert sorted(w.edges.tolist()) == [[0, 1], [1, 2], [2, 3], [2, 4]]
    assert w.ops[2].bytes_written == 256
    assert w.flops == 2 * 8**3
    assert "RECV" in w.ops[4].source
    with pytest.raises(UnsupportedOpError, match=r"--dim ranks=8"):
        read(path)
    with pytest.raises(UnknownNameError, match="ranks"):
        read(path, dims={"batch": 4})


@pytest.mark.parametrize(("nodes", "error", "said"), [
    ((_node(1, "COMP_NODE"),), UnsupportedOpError, "node 1 .*num_ops"), ((_node(1, "INVALID_NODE"),), UnsupportedOpError, "node 1"),
    ((_node(1, "COMM_COLL_NODE", comm_type=3, comm_size=4),), UnsupportedOpError, "GATHER"), ((_node(1, "COMM_COLL_NODE", comm_type=30, comm_size=4),), UnsupportedOpError, "comm_type"),
    ((_node(1, "COMM_SEND_NODE", comm_size=-4),), FormatError, "comm_size"), ((_node(1, "MEM_LOAD_NODE", (2,), tensor_size=4),), FormatError, "waits for node 2"),
    ((_node(1, "MEM_LOAD_NODE", tensor_size=4), _node(1, "MEM_LOAD_NODE", tensor_size=4)), FormatError, "twice"), ((_node(1, "METADATA_NODE"),), FormatError, "metadata alone"),
    ((_node(1, "MEM_LOAD_NODE", (2,), tensor_size=4), _node(2, "MEM_LOAD_NODE", (1,), tensor_size=4)), GraphError, "cyclic"),
])
def test_what_cannot_be_counted_is_named(nodes, error, said, tmp_path):
    path = tmp_path / "t.et"
    path.write_bytes(Trace(nodes).to_bytes())
    with pytest.raises(error, match=said) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_compute_without_a_count_can_be_bounded(tmp_path):
    path = tmp_path / "t.et"
    path.write_bytes(Trace((_node(1, "COMP_NODE", tensor_size=100),)).to_bytes())
    assert read(path, unknown_ops="bound").bounded_ops == ("n1",)


def test_a_changed_trace_is_no_longer_ours(tmp_path):
    b = WorkloadBuilder("w")
    b.add(Op.of("sum", "all_reduce", elements=32, ranks=4), [b.add(Op.of("move", "move", elements=32), [b.input("x", 32)])])
    trace = to_trace(b.build())
    with pytest.raises(FormatError, match=r"remove it"):
        to_workload(Trace(trace.nodes[:1], attributes=trace.attributes))
    assert to_workload(Trace(trace.nodes), ranks=4).ops[1].dims["ranks"] == 4


def test_the_page_runs():
    assert doctest.testfile(str(Path(__file__).parents[3] / "docs" / "chakra.md"), module_relative=False).failed == 0
