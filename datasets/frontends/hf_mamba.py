"""Mamba-2: a projection, a short convolution, a selective scan, a gated norm and a projection per layer (Dao and Gu, ICML 2024, section 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import InputError
from ..ops import ELEMENTWISE_COST
from ..transformer import Transformer
from ..transformer_chain import Chain
from ..transformer_graph import Ends, Step, add_embedding, add_head, check_depth, finished
from ..transformer_layers import share
from ..workload import Workload
from .hf_config import Config


def mamba2(c: Config) -> Callable[[Step, Sequence[str]], Workload]:
    """What builds the workload of a step. Decode reads and writes the states of every layer, whatever `past_tokens`."""
    d, heads, head_dim, state = c.size("hidden_size"), c.size("num_heads"), c.size("head_dim"), c.size("state_size")
    groups, kernel, inner = c.size("n_groups", default=8), c.size("conv_kernel", default=4), c.size("expand", default=2) * d
    bias, conv_bias = c.flag("use_bias", False), c.flag("use_conv_bias", True)
    act = c.activation("hidden_act", default="silu")
    if inner != heads * head_dim:
        raise c.fault("num_heads", f"expand x hidden_size ({inner}) over head_dim ({head_dim})")
    if heads % groups:
        raise c.fault("n_groups", f"a divisor of num_heads ({heads})")
    t = Transformer(c.model_type, str(c.data.get("_name_or_path") or c.model_type), c.size("num_hidden_layers"), d, 1, 1, d, d, c.size("vocab_size"), rope=False,
                    tied=c.flag("tie_word_embeddings", False))
    c.read.update(("chunk_size", "time_step_rank", "time_step_min", "time_step_max", "time_step_floor", "time_step_limit", "rescale_prenorm_residual", "residual_in_fp32", "rms_norm",
                   "norm_before_gate"))
    check_depth(t.key, t.layers)
    named = c.architecture
    if named and not named.endswith(("ForCausalLM", "Mamba2Model")):
        raise c.fault("architectures", "Mamba2ForCausalLM or Mamba2Model")
    ends = Ends(head="none" if named.endswith("Mamba2Model") else "lm")

    def build(step: Step, notes: Sequence[str]) -> Workload:
        chain, tokens = Chain(f"{t.key}/{step.phase}", step.formats, "ssm"), step.segment.tokens
        x = add_embedding(chain, t, step, ends)
        local, own_heads, own_groups = share(t, "inner channels", inner, step.tensor), share(t, "heads", heads, step.tensor), max(groups // step.tensor, 1)
        if step.tensor > 1 and groups % step.tensor and groups != 1:
            raise InputError(f"{c.where}: {groups} groups do not divide into {step.tensor} tensor parts; choose a divisor")
        mixed = local + 2 * own_groups * state
        for i in range(t.layers):
            chain.prefix = f"layers.{i}/"
            y = chain.norm("norm", x, tokens, t, d)
            y = chain.product("in", y, tokens, local + mixed + own_heads, d, bias)
            y = chain.vector("conv", "conv", [y], mixed * (kernel + conv_bias), batch=step.batch, in_channels=mixed, in_h=1, in_w=step.tokens, out_channels=mixed, out_h=1,
                             out_w=step.tokens, kernel_h=1, kernel_w=kernel, groups=mixed, bias=int(conv_bias))
            y = chain.elementwise("conv_act", [y], tokens * mixed, ELEMENTWISE_COST[act])
            read = [y]
            if step.phase == "decode":  # the state of the last token: read here, and written back
                held = chain.input("state", step.batch * local * state, chain.formats.kv)
                read.append(chain.vector("state_update", "move", [held], elements=step.batch * local * state))
            y = chain.vector("scan", "scan", read, 3 * own_heads, batch=step.batch, length=step.tokens, channels=local, state=state, groups=own_groups)
            y = chain.elementwise("gate", [y], tokens * local, ELEMENTWISE_COST["silu"] + 1, tokens * local)
            y = chain.norm("gated_norm", y, tokens, t, local)
            y = chain.product("out", y, tokens, d, local, bias)
            if step.collectives and step.tensor > 1:
                y = chain.vector("sum", "all_reduce", [y], elements=tokens * d, ranks=step.tensor)
            x = chain.elementwise("add", [y, x], tokens * d, ELEMENTWISE_COST["add"], tokens * d)
        chain.prefix = ""
        add_head(chain, t, x, step, ends)
        return finished(chain, step, notes)

    return build
