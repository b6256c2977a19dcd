"""One operator of another domain: the shapes it makes, how it is lowered, and that in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..ops import ELEMENTWISE_COST as COST
from .onnx_shapes import Axes
from .onnx_site import Lowered, Lowering, Site

#: the domain of ONNX Runtime's own operators
MICROSOFT = "com.microsoft"

#: (axes, ONNX element type) of each output
Outputs = Sequence[tuple[Axes | None, int]]


@dataclass(frozen=True)
class Foreign:
    """`shapes` says what the operator makes, `rule` lowers it, `treatment` tells a reader how."""

    shapes: Callable[[Site], Outputs]
    rule: Callable[[Site], Lowering]
    treatment: str


def alike(s: Site) -> Outputs:
    """Every output is like the first input."""
    return [(s.shape(), s.elem(0))] * max(1, len(s.node.outputs))


def elementwise(activation: str, elements: int) -> Lowered:
    """A last step that applies an activation to what the step before made."""
    cost = COST.get({"fastgelu": "gelu", "swiglu": "silu", "swish": "silu"}.get(activation, activation), COST["other"])
    return Lowered("elementwise", {"elements": elements, "cost": cost}, None, None, activation or "activation", (), slots=())
