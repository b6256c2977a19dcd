"""What an error about a file says, whatever the file holds."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from silicast.datasets.errors import FormatError, SilicastError, UnknownNameError
from silicast.datasets.frontends import read
from silicast.datasets.frontends.saying import saying


def said(error: SilicastError, file: str = "net.onnx") -> str:
    with pytest.raises(type(error)) as caught, saying(file):
        raise error
    assert caught.value is error  # its type and what it carries stay
    return str(caught.value)


def test_the_file_is_named_once():
    assert said(FormatError("is empty")) == "net.onnx: is empty"
    assert said(FormatError("net.onnx: is empty")) == "net.onnx: is empty"
    assert said(UnknownNameError("kind", "gem", ("gemm",))) == "net.onnx: unknown kind 'gem'; nearest: gemm"


def test_one_line_of_bounded_length():
    assert said(FormatError("net.onnx: node 'a\nb\x00c\u202e'")) == r"net.onnx: node 'a b\x00c\u202e'"
    long = said(FormatError("net.onnx: " + "9" * 10_000 + " is the end"))
    assert len(long) < 2000
    assert long.endswith("9 is the end")


def test_without_a_file_nothing_is_added():
    with pytest.raises(FormatError, match=r"^is empty$"), saying():
        raise FormatError("is empty")


def test_what_fuzzing_found(tmp_path):
    """Names of control characters in an ONNX file; a place of external data that is no text."""
    odd = helper.make_model(helper.make_graph([helper.make_node("Relu", ["a\n\x01"], ["y"])], "g", [], []), opset_imports=[helper.make_opsetid("", 17)])
    (tmp_path / "a.onnx").write_bytes(odd.SerializeToString())
    with pytest.raises(SilicastError) as caught:
        read(tmp_path / "a.onnx")
    assert str(caught.value).isprintable()
    tensor = TensorProto(name="w", data_type=1, dims=(1,), data_location=1)
    tensor.external_data.add(key="location", value="@@@@")
    model = helper.make_model(helper.make_graph([helper.make_node("Relu", ["w"], ["y"])], "g", [], [helper.make_empty_tensor_value_info("y")], [tensor]), opset_imports=[helper.make_opsetid("", 17)])
    (tmp_path / "b.onnx").write_bytes(model.SerializeToString().replace(b"@@@@", b"\xff\xfe\xff\xfe"))
    with pytest.raises(FormatError, match="UTF-8"):
        read(tmp_path / "b.onnx")
