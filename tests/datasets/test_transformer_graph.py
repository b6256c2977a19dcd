"""Whole models as one graph: the order of their layers, their ends, what a training step adds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from silicast.datasets.catalog.transformers import transformer
from silicast.datasets.errors import InputError, UnknownNameError
from silicast.datasets.transformer_chain import Formats
from silicast.datasets.transformer_graph import HEADS, Ends, Step, kind_of_layer, model_graph

GPT2 = transformer("gpt2")


@pytest.mark.parametrize("key", ["gemma2_9b", "deepseek_v3", "gpt_oss_20b", "mixtral_8x7b", "gpt2"])
def test_layers_in_their_order_are_those_that_are_counted(key):
    t = transformer(key)
    listed = [kind_of_layer(t, i) for i in range(t.layers)]
    for kind in ("dense", "moe"):
        assert sum(k == kind for k, _ in listed) == sum(b.count for b in t.blocks if b.kind == kind)
    for window in {w for _, w in listed}:
        assert sum(w == window for _, w in listed) == sum(b.count for b in t.blocks if b.window == window)


def test_experts_on_every_second_layer():
    t = replace(transformer("mixtral_8x7b"), ffn=100, moe_every=2, dense_layers=2)
    assert [kind_of_layer(t, i)[0] for i in range(6)] == ["dense", "dense", "dense", "moe", "dense", "moe"]


@pytest.mark.parametrize("head", HEADS)
def test_heads_by_hand(head):
    d, vocab = GPT2.hidden, GPT2.vocab
    body = model_graph(GPT2, Step("forward", 2, 4), Ends(head="none")).params
    more = {"none": 0, "lm": 0, "mlm": d * d + d + 2 * d + vocab, "pooler": d * d + d, "classify": d * d + d + 3 * d + 3, "score": 3 * d, "tokens": 3 * d + 3}[head]
    w = model_graph(GPT2, Step("forward", 2, 4), Ends(head=head, labels=3))
    assert w.params == body + more
    assert body == GPT2.params
    if head == "score":  # one token of each sequence speaks for it
        assert w.ops[-1].dims["m"] == 2


def test_a_training_step_reads_tied_weights_backwards_too():
    forward, train = (model_graph(GPT2, Step(phase, 1, 8, optimizer="")) for phase in ("forward", "train"))

    def products(w):
        return sum(op.macs for op in w.ops if op.kind == "gemm")

    assert products(train) == 3 * products(forward)


def test_state_of_the_optimizer_is_said_and_not_an_activation():
    t = replace(GPT2, layers=2)
    bare, full = (model_graph(t, Step("train", 1, 8, optimizer=name)) for name in ("", "adamw"))
    assert full.peak_activation_bytes == bare.peak_activation_bytes
    assert any(f"{12 * t.params} bytes of float32 state" in note for note in full.notes)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="encoder"):
        model_graph(transformer("bert_base"), Step("decode"))
    with pytest.raises(InputError, match="at most 512"):
        model_graph(replace(GPT2, layers=1000), Step())
    with pytest.raises(UnknownNameError, match="optimizer"):
        Step(optimizer="luck")
    with pytest.raises(InputError, match="labels"):
        Ends(head="score")
    with pytest.raises(InputError, match="tensor"):
        Step(tensor=0)
    assert model_graph(GPT2, Step("decode", past_tokens=8, formats=Formats.of("float16", "int4"))).ops
