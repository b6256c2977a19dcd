"""Networks that a search can build from named choices, and the workloads a document can name.

    {file: net.onnx, dims: {batch: 8}}                             a file
    {transformer: gpt2, phase: prefill, new_tokens: 512}           one layer of a model of the catalogue (`layer_workload`)
    {network: resnet, layers2: 6, dtype: int8}                     one of `NETWORKS` with its choices
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...datasets.errors import FormatError, InputError, UnknownNameError
from ...datasets.workload import Workload
from .document import keyed, shown, whole, words

#: expansion, kernel, layers and squeeze-and-excitation of the seven stages of MnasNet-A1 (Tan et al., CVPR 2019, Figure 7a)
_A1 = ((1, 3, 1, False), (6, 3, 2, False), (3, 5, 3, True), (6, 3, 4, False), (6, 3, 2, True), (6, 5, 3, True), (6, 3, 1, False))
_MNASNET = {f"block{i}_{name}": stage[at] for i, stage in enumerate(_A1) for at, name in enumerate(("e", "k", "l", "se"))}


@dataclass(frozen=True)
class Network:
    """A family of networks. `choices`: what can vary, with the value it has otherwise; `build` makes the workload of a full set of choices."""

    choices: Mapping[str, Any]
    build: Callable[[Mapping[str, Any]], Workload]
    source: str


def _mnasnet(row: Mapping[str, Any]) -> Workload:
    from ...datasets.encodings.mnasnet import mnasnet

    return mnasnet({k: row[k] for k in _MNASNET}, whole(row["batch"], "batch"), whole(row["resolution"], "resolution"), words(row["dtype"], "dtype"))


def _resnet(row: Mapping[str, Any]) -> Workload:
    from ...datasets.families.blocks import bottleneck
    from ...datasets.layers import Net

    net = Net("resnet", words(row["dtype"], "dtype"), family="cnn_residual", fold_norm=True)
    width, side = whole(row["width"], "width"), whole(row["resolution"], "resolution")
    x = net.max_pool(net.conv_norm(net.image(whole(row["batch"], "batch"), 3, side, side), width, 7, 2, name="stem"), 3, 2, 1)
    for stage in range(4):
        inner = width << stage
        for block in range(whole(row[f"layers{stage + 1}"], f"layers{stage + 1}")):
            with net.scope(f"stage{stage + 1}/block{block}"):
                x = bottleneck(net, x, inner, 4 * inner, 2 if stage and not block else 1)
    net.linear(net.global_avg_pool(x), 1000, name="classifier")
    return net.build()


_COMMON = {"batch": 1, "resolution": 224, "dtype": "float16"}
#: name -> family
NETWORKS: dict[str, Network] = {
    "mnasnet": Network({**_MNASNET, **_COMMON}, _mnasnet, "Tan et al., MnasNet, CVPR 2019: seven stages, each with expansion e, kernel k, layers l, squeeze-and-excitation se"),
    "resnet": Network({"layers1": 3, "layers2": 4, "layers3": 6, "layers4": 3, "width": 64, **_COMMON}, _resnet,
                      "He et al., CVPR 2016, Table 1: as it stands, ResNet-50 (stride in the 3x3 convolution); norms folded into the convolutions"),
}


def network(name: Any, where: str) -> Network:
    """The family of that name; UnknownNameError naming the nearest."""
    if name not in NETWORKS:
        raise UnknownNameError("network", str(name)[:80], NETWORKS, f"in {where}")
    return NETWORKS[name]


def checked(family: Network, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The family's choices with those given in their place. Raises FormatError for one it does not have."""
    keyed(given, where, tuple(family.choices))
    return {**family.choices, **given}


def workload(given: Any, where: str) -> Workload:
    """The workload that a document names. Raises FormatError naming `where`, or what the file or the catalogue says is wrong."""
    kinds = [k for k in ("file", "transformer", "network") if isinstance(given, Mapping) and k in given]
    if len(kinds) != 1:
        raise FormatError(f"{where}: expected exactly one of file, transformer or network, got {shown(given)}")
    rest = {k: v for k, v in given.items() if k != kinds[0]}
    try:
        if kinds[0] == "network":
            family = network(given["network"], where)
            return family.build(checked(family, rest, where))
        if kinds[0] == "transformer":
            from ...datasets.catalog.transformers import transformer
            from ...datasets.transformer_layers import layer_workload

            keyed(rest, where, ("phase", "batch", "new_tokens", "past_tokens", "tensor", "expert", "dtype", "weight_dtype", "kv_dtype", "layer", "window", "sparsity"))
            return layer_workload(transformer(words(given["transformer"], f"{where}.transformer")), **rest)
        from ...datasets.frontends import read

        keyed(rest, where, ("dims", "dtype"))
        return read(Path(words(given["file"], f"{where}.file")), **rest)
    except TypeError as error:
        raise FormatError(f"{where}: {error}") from None
    except InputError as error:
        raise error if where in str(error) else FormatError(f"{where}: {error}") from None
