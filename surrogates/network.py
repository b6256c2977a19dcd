"""The residual network behind `Neural`, and its two heads.

`ratio`: an output is the standardised target itself. `ceilings`: the first output, a latency, is put together from what the machine could do at
best. The network gives the achieved fraction of each ceiling, bounded by what that ceiling can mean: of arithmetic at most all of it; of memory and
cache at most `_BORROWED` times the data sheet (operands that never left the cache); start and end are free, since a harness adds its own. The ceilings
join smoothly, as the p-norm of the times they ask for, p learned between "one after another" and "side by side".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: how much faster than the data sheet's memory or cache a kernel may seem that finds its operands nearer (assumption)
_BORROWED = 2.72


def network(inputs: int, cards: Sequence[int], hidden: int, blocks: int, outputs: int, ceilings: int = 0) -> Any:
    """The unfitted network: `inputs` numbers and a code for each of `cards` (values a code may take) -> (n, outputs).

    With `ceilings`, called with (n, ceilings) log ratios of each ceiling's time to the reference, output 0 is log(latency / reference); the caller
    standardises it.
    """
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            tables = [nn.Embedding(c, 8) for c in cards]
            for table in tables:
                nn.init.normal_(table.weight, 0.0, 0.1)
            self.embeddings = nn.ModuleList(tables)
            self.first = nn.Linear(inputs + 8 * len(cards), hidden)
            self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, hidden)) for _ in range(blocks))
            self.last = nn.Linear(hidden, outputs + ceilings)
            if ceilings:
                nn.init.normal_(self.last.weight, 0.0, 0.01)
                nn.init.zeros_(self.last.bias)
                self.borrowed: torch.Tensor
                self.register_buffer("borrowed", torch.log(torch.tensor([1.0, *[_BORROWED] * (ceilings - 2)])))

        def forward(self, x: Any, codes: Any, limits: Any = None) -> Any:
            """(n, outputs)."""
            h = self.first(torch.cat([x, *(e(codes[:, j]) for j, e in enumerate(self.embeddings))], 1))
            for block in self.blocks:
                h = h + block(h)
            out = self.last(nn.functional.gelu(h))
            if not ceilings:
                return out
            free = out[:, outputs:]
            lost = nn.functional.softplus(2.0 * free[:, :-1] + 0.5) - self.borrowed  # - log of the achieved fraction
            power = 1.5 + 1.5 * nn.functional.softplus(out[:, :1] + 1.0)
            times = limits + torch.cat([lost, 2.0 * free[:, -1:]], 1)
            joined = torch.logsumexp(power * times, 1, keepdim=True) / power
            return torch.cat([joined, out[:, 1:outputs]], 1)

    return Network()
