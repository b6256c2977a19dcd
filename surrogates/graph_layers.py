"""The network behind `GraphNet`: kernels exchange messages, then a readout adds them up.

`mixing`, how kernels learn of each other:
    sage       along the tensors, both ways, every layer (Hamilton et al., NeurIPS 2017; PyTorch Geometric's SAGEConv)
    order      one sweep down the topological order and one up, each kernel after all it waits for (Thost and Chen, ICLR 2021)
    attention  sage, and within a layer every kernel also attends to every other of its graph (Rampasek et al., GPS, NeurIPS 2022)
`places`: structural encodings beside the node columns. `pool`: "time" weighs kernels by their share of the time, "attention" by that times a learned
weight. Latency is the sum over kernels of analytic estimate x learned factor, times a learned overlap of the whole graph.
"""

from __future__ import annotations

from typing import Any

MIXINGS = ("sage", "order", "attention")
POOLS = ("time", "attention")
_HEADS = 4


def network(nodes: int, machine: int, hidden: int, layers: int, mixing: str, pool: str, places: int, heads: int) -> Any:
    """The unfitted network: `nodes`, `machine` and `places` columns in (places 0: none), latency and `heads` further logarithms out."""
    import torch
    from torch import nn
    from torch_geometric.nn import SAGEConv
    from torch_geometric.utils import softmax, to_dense_batch

    def mean(conv: Any, h: Any, source: Any, sink: Any, weight: Any) -> Any:
        """SAGEConv by its own weights: the mean over neighbours, without the machinery that costs more than the arithmetic on one graph."""
        out = conv.lin_l(torch.zeros_like(h).index_add_(0, sink, h[source] * weight[sink]))
        return out + conv.lin_r(h) if conv.root_weight else out

    class Attention(nn.Module):
        """Every kernel attends to every other of its graph; starts as no attention at all."""

        def __init__(self) -> None:
            super().__init__()
            self.norm, self.ask, self.give = nn.LayerNorm(hidden), nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
            nn.init.zeros_(self.give.weight)
            nn.init.zeros_(self.give.bias)

        def forward(self, h: Any, graph: Any) -> Any:
            dense, there = to_dense_batch(self.norm(h), graph)
            q, k, v = (x.unflatten(2, (_HEADS, -1)).transpose(1, 2) for x in self.ask(dense).chunk(3, 2))
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=there[:, None, None, :])
            return self.give(out.transpose(1, 2).flatten(2)[there])

    class Sweep(nn.Module):
        """One pass over the levels of the graph: a kernel's state is a gated mix of its own and the mean of those it waits for."""

        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(hidden, hidden)

        def forward(self, h: Any, source: Any, sink: Any, weight: Any, level: Any) -> Any:
            order = torch.argsort(level[sink], stable=True)
            source, sink = source[order], sink[order]
            steps = torch.bincount(level[sink], minlength=1).tolist()
            at = 0
            for count in steps:  # level 0 waits for nothing
                if count:
                    s, t = source[at:at + count], sink[at:at + count]
                    here, inverse = torch.unique(t, return_inverse=True)
                    heard = torch.zeros(len(here), h.shape[1]).index_add_(0, inverse, h[s] * weight[t])
                    h = h.index_copy(0, here, self.cell(heard, h[here]))
                    at += count
            return h

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.node = nn.Sequential(nn.Linear(nodes, hidden), nn.GELU(), nn.Linear(hidden, hidden))
            self.machine = nn.Sequential(nn.Linear(machine, hidden), nn.GELU(), nn.Linear(hidden, hidden))
            if places:
                self.place = nn.Linear(places, hidden, bias=False)
                nn.init.zeros_(self.place.weight)
            if mixing == "order":
                self.down, self.up = nn.ModuleList(Sweep() for _ in range(layers)), nn.ModuleList(Sweep() for _ in range(layers))
            else:
                self.down = nn.ModuleList(SAGEConv(hidden, hidden, aggr="mean") for _ in range(layers))
                self.up = nn.ModuleList(SAGEConv(hidden, hidden, aggr="mean", root_weight=False) for _ in range(layers))
            self.norm = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
            self.far = nn.ModuleList(Attention() for _ in range(layers if mixing == "attention" else 0))
            self.factor = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.GELU(), nn.Linear(hidden, 1))
            self.overlap = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.GELU(), nn.Linear(hidden, 1 + heads))
            if pool == "attention":
                self.weigh = nn.Linear(hidden, 1)
            for head in (self.factor[-1], self.overlap[-1], *([self.weigh] if pool == "attention" else [])):
                for parameter in head.parameters():
                    nn.init.zeros_(parameter)

        def states(self, x: Any, edges: Any, graph: Any, machine: Any, place: Any, levels: Any) -> tuple[Any, Any]:
            """((V, hidden) states of the kernels after mixing, (n, hidden) of the machines). `levels` (2, V): depth from inputs and from outputs."""
            device = self.machine(machine)
            h = self.node(x) + device[graph]
            if places:
                h = h + self.place(place)
            source, sink = edges
            one = torch.ones(len(sink))
            into = 1.0 / torch.zeros(len(h)).index_add_(0, sink, one).clamp(min=1.0)[:, None]
            out_of = 1.0 / torch.zeros(len(h)).index_add_(0, source, one).clamp(min=1.0)[:, None]
            for i, norm in enumerate(self.norm):
                if mixing == "order":
                    swept = self.down[i](h, source, sink, into, levels[0])
                    mixed = norm(self.up[i](swept, sink, source, out_of, levels[1]))
                else:
                    mixed = norm(mean(self.down[i], h, source, sink, into) + mean(self.up[i], h, sink, source, out_of))
                h = h + torch.nn.functional.gelu(mixed)
                if mixing == "attention":
                    h = h + self.far[i](h, graph)
            return h, device

        def forward(self, x: Any, edges: Any, graph: Any, estimate: Any, machine: Any, place: Any, levels: Any) -> tuple[Any, Any]:
            """((n, 1 + heads) logarithms: latency over the summed estimates, then the heads over theirs; (V,) each kernel's share of the time)."""
            h, device = self.states(x, edges, graph, machine, place, levels)
            count = len(machine)
            total = torch.zeros(count).index_add_(0, graph, estimate)
            factor = self.factor(torch.cat([h, device[graph]], 1))[:, 0].clamp(-4, 4)
            took = estimate / total[graph] * torch.exp(factor)
            time = torch.zeros(count).index_add_(0, graph, took)
            share = took / time[graph]
            weight = share if pool == "time" else softmax(torch.log(share.clamp(min=1e-12)) + self.weigh(h)[:, 0], graph, num_nodes=count)
            pooled = torch.zeros(count, hidden).index_add_(0, graph, h * weight[:, None])
            overlap = self.overlap(torch.cat([pooled, device], 1))
            return torch.cat([torch.log(time)[:, None] + overlap[:, :1].clamp(-2, 2), overlap[:, 1:].clamp(-4, 4)], 1), share

    return Network()
