"""A torch module exported to its ATen graph by `torch.export`, and which calls of such a graph silicast knows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..errors import FormatError
from .torch_ops import RULES

#: calls that compute nothing and give no tensor
SILENT = ("sym_size", "sym_constrain_range_for_size", "sym_constrain_range", "_assert_scalar", "_assert_async", "_assert_tensor_metadata", "_local_scalar_dense", "item", "sym_stride",
           "sym_numel", "sym_storage_offset", "manual_seed")
#: calls whose results are views of their first operand, whatever the tracer says of its memory
VIEWS = frozenset(("view", "_unsafe_view", "transpose", "permute", "t", "numpy_T", "squeeze", "unsqueeze", "expand", "expand_as", "select", "slice", "split", "split_with_sizes", "chunk", "unbind",
                    "unflatten", "narrow", "alias", "detach", "detach_", "diagonal", "view_as", "movedim", "swapaxes", "lift_fresh", "lift", "real", "as_strided", "unfold", "tensor_split",
                    "requires_grad", "identity", "broadcast_to", "mT", "swapdims", "ravel", "expand_dims", "unsafe_split", "unsafe_chunk", "broadcast_tensors"))


def _arguments(given: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if given is None:
        raise FormatError("a torch module needs example_inputs: a tuple of tensors shaped like the real ones, or a mapping of keyword arguments")
    if isinstance(given, Mapping):
        return (), dict(given)
    return (tuple(given) if isinstance(given, (tuple, list)) else (given,)), {}


@contextmanager
def _mode(module: Any, training: bool) -> Iterator[None]:
    """The module in training or evaluation mode and off the fused inference path, everything put back afterwards."""
    import torch

    before = {path: m.training for path, m in module.named_modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one opaque operator per encoder layer says nothing
    module.train(training)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for path, m in module.named_modules():
            m.training = before[path]


def export(module: Any, example_inputs: Any, training: bool, name: str) -> Any:
    """The module's exported program; composites that silicast does not know are taken apart. Raises FormatError when torch cannot trace it."""
    import torch

    args, options = _arguments(example_inputs)
    with _mode(module, training), warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(module, args, options or None, strict=False)
            strange = {n.target for n in program.graph.nodes if n.op == "call_function" and hasattr(n.target, "_schema") and known(n.target) is None}
            if strange:  # a composite of known operators is taken apart; nothing else is
                table = {target: rule for target, rule in torch.export.default_decompositions().items() if target in strange}
                if table:
                    program = program.run_decompositions(table)
            return program
        except (KeyboardInterrupt, MemoryError):
            raise
        except Exception as error:  # whatever the module's own code or the tracer says
            first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise FormatError(f"{name}: torch.export cannot trace this module with these inputs: {type(error).__name__}: {first[:300]}") from None


def known(target: Any) -> str | None:
    """The name of a rule for an ATen operator; None where there is none."""
    plain = target._schema.name.split("::")[-1]
    bare = plain.rstrip("_") or plain
    return bare if bare in RULES or bare in VIEWS or plain in VIEWS or bare in SILENT or plain in SILENT else None
