"""MLIR text (`.mlir`, `.stablehlo`) -> `Workload`: StableHLO, linalg, and loop nests of affine and scf.

The module's `main`, or its only public function, is what runs. Its arguments are the inputs; constants with elements of their own are parameters. Sizes must
be fixed. `dims={"trips": N}` is how often a loop runs that depends on data. See docs/mlir.md for what each operation counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import GraphError, InputError, UnknownNameError, UnsupportedOpError
from ..workload import Workload
from .mlir_graph import Rule, Walk
from .mlir_hlo import RULES as HLO
from .mlir_linalg import RULES as LINALG
from .mlir_loops import RULES as LOOPS
from .mlir_text import parse

#: every operation that is read, by its full name
RULES: dict[str, Rule] = {**HLO, **LINALG, **LOOPS}


def read_mlir(path: str | Path, dims: Mapping[str, int] | None = None, unknown_ops: str = "error", dtype: str | None = None) -> Workload:
    """The workload of a module in a file. Raises FormatError for text that is no MLIR, GraphError for sizes or trips that are not known, UnsupportedOpError
    naming the function and the operation."""
    for name in dims or {}:
        if name != "trips":
            raise UnknownNameError("dimension", name, ("trips",), f"{path}: the sizes of a module are fixed in its text; only the trips of loops on data can be given")
    module = parse(Path(path))
    try:
        workload = Walk(Path(path).stem, module, RULES, unknown_ops == "bound", (dims or {}).get("trips", 0)).workload()
    except (GraphError, UnsupportedOpError) as error:
        raise type(error)(f"{path}: {error}") from None
    except InputError as error:
        raise GraphError(f"{path}: {error}") from None
    except (RecursionError, AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        # well-formed text whose operations lack what their dialect demands: xdsl checks that only for dialects it has
        raise GraphError(f"{path}: an operation lacks what its dialect demands ({type(error).__name__}: {' '.join(str(error).split())[:200]})") from None
    if dtype is None:
        return workload
    from .recast import recast

    return recast(workload, dtype)
