"""Torch modules: FLOPs against torch's own counter, parameters against the module's, saved memory against autograd's hooks, attention by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

import silicast as sc
from silicast.datasets.errors import FormatError, GraphError, UnknownNameError, UnsupportedOpError

torch = pytest.importorskip("torch")
nn = torch.nn


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(20, 40), nn.Linear(40, 7, bias=False)

    def forward(self, x: Any) -> Any:
        return self.b(nn.functional.gelu(self.a(x)))


class Cnn(nn.Module):
    def __init__(self, groups: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.deep = nn.Conv2d(16, 16, 3, padding=1, groups=groups)
        self.grouped = nn.Conv2d(16, 32, 1, groups=min(groups, 4))
        self.up = nn.ConvTranspose2d(32, 8, 2, stride=2)
        self.odd = nn.ConvTranspose2d(8, 8, 3, stride=2)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        return self.head(self.pool(self.odd(self.up(self.grouped(nn.functional.max_pool2d(self.deep(self.stem(x)), 2))))).flatten(1))


class Words(nn.Module):
    """A table of words that is also the last matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.norm, self.out = nn.Embedding(50, 24), nn.LayerNorm(24), nn.Linear(24, 50, bias=False)
        self.place = nn.Parameter(torch.zeros(1, 9, 24))
        self.out.weight = self.words.weight

    def forward(self, ids: Any) -> Any:
        return self.out(self.norm(self.words(ids) + self.place)).log_softmax(-1)


class Attends(nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.qkv, self.causal = nn.Linear(32, 96), causal

    def forward(self, x: Any) -> Any:
        b, t, _ = x.shape
        q, k, v = (part.view(b, t, 4, 8).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)


class Experts(nn.Module):
    """A gate, and every expert on every token by two einsums."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(16, 4, bias=False), nn.Parameter(torch.ones(4, 16, 32)), nn.Parameter(torch.ones(4, 32, 16))

    def forward(self, x: Any) -> Any:
        share = self.gate(x).softmax(-1)
        value, index = share.topk(2, -1)
        hidden = torch.einsum("td,edf->etf", x, self.up).relu()
        return (torch.einsum("etf,efd->etd", hidden, self.down) * torch.zeros_like(share).scatter(-1, index, value).t().unsqueeze(-1)).sum(0)


class Unet(nn.Module):
    """Down, up, across; norms, gates and borders of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.n, self.b, self.i = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(4, 8), nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.InstanceNorm2d(16, affine=True)
        self.c, self.gate, self.p = nn.Conv2d(24, 4, 1), nn.Conv2d(4, 4, 1), nn.PReLU()

    def forward(self, x: Any) -> Any:
        high = nn.functional.silu(self.n(self.a(x)))
        low = nn.functional.interpolate(self.p(self.i(self.b(high))), scale_factor=2, mode="bilinear")
        y = self.c(torch.cat([high, low], 1))
        y = y * torch.sigmoid(self.gate(nn.functional.adaptive_avg_pool2d(y, 1)))
        return nn.functional.hardswish(nn.functional.pad(y, (1, 1, 1, 1)))


class Rotary(nn.Module):
    """Grouped queries, turned by their place; a gated layer after them."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.norm, self.gate = nn.Linear(32, 32), nn.Linear(32, 16), nn.Linear(32, 16), nn.RMSNorm(32), nn.Linear(32, 64)
        self.register_buffer("angles", torch.ones(9, 4))

    def turned(self, x: Any) -> Any:
        a, b = x.chunk(2, -1)
        return torch.cat([a * self.angles.cos() - b * self.angles.sin(), b * self.angles.cos() + a * self.angles.sin()], -1)

    def forward(self, x: Any) -> Any:
        q, k, v = (part(self.norm(x)).view(2, 9, -1, 8).transpose(1, 2) for part in (self.q, self.k, self.v))
        y = nn.functional.scaled_dot_product_attention(self.turned(q), self.turned(k), v, enable_gqa=True)
        a, b = self.gate(y.transpose(1, 2).reshape(2, 9, 32)).chunk(2, -1)
        return nn.functional.silu(a) * b


IMAGES, IDS = (torch.zeros(2, 3, 16, 16),), (torch.zeros(2, 9, dtype=torch.long),)
#: module and inputs on which torch's counter is right, forward and backward
RIGHT = {
    "mlp": (Mlp, (torch.zeros(6, 20),)), "cnn": (Cnn, IMAGES), "dense cnn": (lambda: Cnn(1), IMAGES), "words": (Words, IDS),
    "conv1d": (lambda: nn.Conv1d(4, 6, 5, padding=2, dilation=1), (torch.zeros(3, 4, 20),)),
    "conv3d": (lambda: nn.Conv3d(2, 4, 3), (torch.zeros(1, 2, 5, 6, 7),)),
    "encoder": (lambda: nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True), (torch.zeros(2, 10, 32),)),
    "experts": (Experts, (torch.ones(10, 16),)), "unet": (Unet, IMAGES), "rotary": (Rotary, (torch.zeros(2, 9, 32),)),
    "attends": (lambda: Attends(False), (torch.zeros(2, 10, 32),)),
}


def counted(module: Any, args: tuple[Any, ...], backward: bool) -> float:
    """What torch's own counter says of a real run. Attention runs as plain products: the counter does not know the CPU's fused kernel and counts it as nothing."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        out = module(*args)
        if backward:
            out.sum().backward()
    return float(counter.get_total_flops())


@pytest.mark.parametrize("name", RIGHT)
def test_inference_counts_what_torch_counts(name: str) -> None:
    make, args = RIGHT[name]
    module = make().eval()
    workload = sc.read(module, args)
    assert 2 * workload.macs == counted(module, args, False)
    assert workload.params == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", [n for n in RIGHT if n not in ("cnn", "encoder", "attends", "rotary")])
def test_training_counts_what_torch_counts(name: str) -> None:
    make, args = RIGHT[name]
    module = make().train()
    workload = sc.read(module, args, training="sgd")
    assert 2 * workload.macs == counted(module, args, True)
    assert workload.params == sum(p.numel() for p in module.parameters())


def test_grouped_convolutions_cost_three_forward_passes() -> None:
    """The gradient of the weights of a convolution in groups does as much work as the forward pass; torch's counter leaves the groups out there."""
    module = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    x = torch.zeros(2, 8, 6, 6, requires_grad=True)
    forward = 2 * 2 * 36 * 8 * 9
    assert 2 * sc.read(module, (x,)).macs == forward
    assert 2 * sc.read(module, (x.detach(),), training="sgd").macs == 2 * forward  # nobody asks for the gradient of the image
    assert counted(module, (x,), True) == forward + forward + 8 * forward


@pytest.mark.parametrize("name", ["mlp", "cnn", "conv1d", "words"])
def test_kept_activations_are_those_autograd_keeps(name: str) -> None:
    make, args = RIGHT[name]
    module = make().train()
    own = {p.untyped_storage().data_ptr() for p in (*module.parameters(), *module.buffers())}
    seen: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = module(*args)
    workload = sc.read(module, args, training="sgd")
    backward = {i for i, op in enumerate(workload.ops) if op.source.startswith("backward")}
    first = min(backward)
    kept = sum(t.bytes for t in workload.tensors if t.producer < first and any(c in backward for c in t.consumers) and t.name != "gradient of the result")
    assert kept == pytest.approx(sum(seen.values()), rel=0.02)
    assert out is not None


def test_causal_attention_counts_the_pairs_attended() -> None:
    full, half = (sc.read(Attends(causal), (torch.zeros(2, 10, 32),)) for causal in (False, True))
    # 2 images x 4 heads, 10 queries: 100 or 55 pairs, a multiply-add per pair and element of a key and of a value
    assert [w.ops[-1].counts["matrix_flops"] for w in (full, half)] == [2 * 8 * 100 * 16, 2 * 8 * 55 * 16]
    step = sc.read(Attends(True), (torch.zeros(2, 10, 32),), training="sgd")
    # the scores again, their gradient, and the gradients of queries, keys and values: five products where the forward pass has two
    assert sum(op.counts["matrix_flops"] for op in step.ops if op.kind == "attention" and op.source == "backward") == 2.5 * 2 * 8 * 55 * 16


@pytest.mark.parametrize(("cell", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_cells_by_hand(cell: Any, gates: int) -> None:
    module = cell(10, 6, num_layers=2, bidirectional=True, batch_first=True)
    workload = sc.read(module, (torch.zeros(3, 5, 10),))
    # per step and direction: gates x hidden outputs of (input + hidden) products; the second layer reads both directions
    assert workload.macs == 2 * 5 * 3 * gates * 6 * ((10 + 6) + (12 + 6))
    assert workload.params == sum(p.numel() for p in module.parameters())
    step = sc.read(module, (torch.zeros(3, 5, 10),), training="adam")
    assert step.macs == 3 * workload.macs


def test_dropout_runs_in_training_only() -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Dropout(0.0))
    assert [op.kind for op in sc.read(module, (torch.zeros(2, 4),)).ops] == ["gemm"]
    step = sc.read(module, (torch.zeros(2, 4),), training="sgd")
    assert [t.bytes for t in step.tensors if t.name == "1/dropout/kept"] == [16]  # the mask, a byte each


class Cut(nn.Module):
    """Two layers; no gradient reaches the first, by one way or the other."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.a, self.b, self.way = nn.Linear(6, 6), nn.Linear(6, 6), way

    def forward(self, x: Any) -> Any:
        if self.way == "no_grad":
            with torch.no_grad():
                x = self.a(x)
        elif self.way == "autocast":
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.a(x)
        else:
            x = self.a(x).detach()
        return self.b(x)


@pytest.mark.parametrize("way", ["no_grad", "detach"])
def test_where_gradients_are_cut_off_nothing_runs_back(way: str) -> None:
    step = sc.read(Cut(way), (torch.zeros(2, 6),), training="sgd")
    assert [op.name for op in step.ops if op.source != "aten.linear.default"] == ["b/linear/backward/weight", "b/linear/backward/sum2", "b.weight/sgd", "b.bias/sgd"]
    assert step.params == 2 * 42


def test_autocast_computes_in_its_format_and_stores_weights_in_theirs() -> None:
    op = sc.read(Cut("autocast"), (torch.zeros(2, 6),)).ops[0]
    assert (op.dtype, op.weight_dtype, op.output_dtype) == ("bfloat16", "float32", "bfloat16")


def test_names_are_module_paths() -> None:
    names = [op.name for op in sc.read(Cnn(), IMAGES).ops]
    assert names[:4] == ["stem.0/conv2d", "stem.1/batch_norm", "stem.2/relu", "deep/conv2d"]
    step = [op.name for op in sc.read(Mlp(), (torch.zeros(6, 20),), training="adam").ops]
    assert {"a/linear/backward/weight", "b/linear/backward/input", "a.weight/adam"} <= set(step)
    assert not [n for n, c in Counter(step).items() if c > 1]


def test_an_update_reads_and_writes_its_states() -> None:
    """SGD touches 3 numbers a parameter (parameter and gradient in, parameter out), Adam 7: two states each read and written more."""
    for optimizer, touched in (("sgd", 3), ("momentum", 5), ("adam", 7)):
        ops = [op for op in sc.read(Mlp(), (torch.zeros(6, 20),), training=optimizer).ops if op.source.startswith("update")]
        assert sum(op.bytes_read + op.bytes_written for op in ops) == 4 * touched * (20 * 40 + 40 + 40 * 7)


def test_training_needs_more_memory_than_inference_and_adam_more_than_sgd() -> None:
    module = Mlp()
    run, sgd, adam = (sc.read(module, (torch.zeros(64, 20),), training=t).peak_activation_bytes for t in ("", "sgd", "adam"))
    assert run < sgd
    assert adam == sgd + 2 * 4 * (20 * 40 + 40 + 40 * 7)  # two states a parameter, alive all the time


def test_modules_without_memory_and_in_half_precision() -> None:
    with torch.device("meta"):
        module = nn.Linear(65536, 65536, bias=False).half()
        workload = sc.read(module, (torch.zeros(4, 65536, dtype=torch.float16),))
    assert workload.params == 65536**2
    assert workload.ops[0].dtype == "float16"


def test_the_module_is_left_as_it_was() -> None:
    module = Cnn().train()
    module.deep.eval()
    before = {name: p.clone() for name, p in module.state_dict().items()}
    modes = [m.training for m in module.modules()]
    sc.read(module, IMAGES)
    sc.read(module, IMAGES, training="sgd")
    assert [m.training for m in module.modules()] == modes
    assert all(torch.equal(before[name], p) for name, p in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_digest_is_stable() -> None:
    assert sc.read(Cnn(), IMAGES).digest == sc.read(Cnn(), IMAGES).digest


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), Strange())

    def forward(self, x: Any) -> Any:
        return self.inner(x)


class Strange(nn.Module):
    def forward(self, x: Any) -> Any:
        return torch.linalg.svdvals(x)


def test_an_unknown_operator_is_named_with_its_module() -> None:
    with pytest.raises(UnsupportedOpError, match=r"inner\.1/.*linalg_svd"):
        sc.read(Odd(), (torch.zeros(4, 4),))
    workload = sc.read(Odd(), (torch.zeros(4, 4),), unknown_ops="bound")
    assert len(workload.bounded_ops) == 1
    assert "bounded" in workload.notes[0]


class Picks(nn.Module):
    """As many rows as the data have positive numbers."""

    def forward(self, x: Any) -> Any:
        return torch.relu(x.nonzero().float())


def test_sizes_on_data_are_bound_by_name() -> None:
    with pytest.raises(GraphError, match="dims="):
        sc.read(Picks(), (torch.zeros(8),))
    workload = sc.read(Picks(), (torch.zeros(8),), dims={"u0": 5})
    assert workload.ops[-1].dims["elements"] == 5


def test_bad_input_is_told(tmp_path: Any) -> None:
    with pytest.raises(FormatError, match="example_inputs"):
        sc.read(Mlp())
    with pytest.raises(FormatError, match="cannot trace"):
        sc.read(Mlp(), (torch.zeros(3, 3),))
    with pytest.raises(UnknownNameError, match="optimizer"):
        sc.read(Mlp(), (torch.zeros(6, 20),), training="adamm")
    file = tmp_path / "net.pt2"
    file.write_bytes(b"x")
    with pytest.raises(FormatError, match="can run code"):
        sc.read(file)
