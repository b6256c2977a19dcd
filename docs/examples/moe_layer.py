"""One mixture-of-experts layer (Mixtral 8x7B: 8 experts, 2 to a token, width 4096). Run it: it prints the work and the parameters."""

from silicast.datasets.layers import Net, Value
from silicast.datasets.workload import Workload


def experts(net: Net, rows: Value, count: int, hidden: int) -> Value:
    """A gated feed-forward layer for every expert, on rows in order of their expert."""
    gate = net.activation(net.expert_linear(rows, count, hidden, name="gate"), "silu")
    up = net.expert_linear(rows, count, hidden, name="up")
    return net.expert_linear(net.mul(gate, up), count, rows.shape[1], name="down")


def moe_layer(tokens: int = 1024, width: int = 4096, hidden: int = 14336, count: int = 8, top_k: int = 2, dtype: str = "bfloat16") -> Workload:
    """Router, dispatch, experts, weighted sum, around a residual connection; every expert gets its even share of the tokens."""
    net = Net("moe_layer", dtype=dtype, family="prefill")
    x = net.input((tokens, width))
    y = net.rms_norm(x)
    chosen = net.route(net.linear(y, count, bias=False, name="router"), top_k)
    weights = net.split(chosen, (1, 1))[0]                                # the other half says which experts
    rows = net.concat([y] * top_k, axis=0, name="dispatch")               # a row per token and expert, sorted
    rows = net.reshape(experts(net, rows, count, hidden), (tokens, top_k, width))
    net.add(x, net.mean(net.mul(rows, weights, name="weigh"), axis=1, name="combine"))
    return net.build()


if __name__ == "__main__":
    for tokens in (1024, 1):
        workload = moe_layer(tokens)
        print(f"{tokens} tokens: {workload.flops / 1e9:,.1f} Gflop, {workload.params:,} parameters, of which a token meets "
              f"{sum(op.params for op in workload.ops if op.kind == 'grouped_gemm') // 4:,} in its experts")
