"""One GPT-2 block (width 768, 12 heads), written out. Run it: it prints the work and the parameters of prefill and of decode."""

from silicast.datasets.layers import Net, Value
from silicast.datasets.workload import Workload


def block(net: Net, x: Value, heads: int, kv_len: int) -> Value:
    """Attention, then the feed-forward layer, each around a residual connection."""
    width = x.shape[-1]
    with net.scope("attention"):
        q, k, v = net.split(net.linear(net.layer_norm(x), 3 * width, name="qkv"), (width, width, width))
        y = net.attention(q, k, v, heads=heads, causal=True, kv_len=kv_len)
        x = net.add(x, net.linear(y, width, name="out"))
    with net.scope("feed_forward"):
        y = net.activation(net.linear(net.layer_norm(x), 4 * width, name="up"), "gelu")
        return net.add(x, net.linear(y, width, name="down"))


def gpt_block(batch: int = 1, length: int = 1024, past: int = 0, width: int = 768, heads: int = 12, dtype: str = "float16") -> Workload:
    """`length` new tokens that also see `past` earlier ones from the cache."""
    net = Net("gpt2_block", dtype=dtype, family="decode" if past else "prefill")
    block(net, net.input((batch, length, width)), heads, kv_len=past + length)
    return net.build()


if __name__ == "__main__":
    for what, workload in (("prefill of 1024 tokens", gpt_block()), ("one token after 1023", gpt_block(length=1, past=1023))):
        print(f"{what}: {workload.flops / 1e6:,.1f} Mflop, {workload.bytes_read / 1e6:,.1f} MB read, {workload.params:,} parameters")
