"""ViT: an image cut into patches, a class token, an encoder (Dosovitskiy et al., ICLR 2021, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..ops import ELEMENTWISE_COST, Op
from ..transformer import Segment, Transformer
from ..transformer_chain import Chain
from ..transformer_graph import Step, check_depth, finished
from ..transformer_layers import add_layer
from ..workload import Workload
from .hf_config import Config


def vit(c: Config) -> Callable[[Step, Sequence[str]], Workload]:
    """What builds the workload of a step of `batch` images. ForImageClassification has a classifier, Model a pooler."""
    heads, d = c.size("num_attention_heads"), c.size("hidden_size")
    image, patch, channels = c.size("image_size", default=224), c.size("patch_size", default=16), c.size("num_channels", default=3)
    t = Transformer(c.model_type, str(c.data.get("_name_or_path") or c.model_type), c.size("num_hidden_layers"), d, heads, heads, max(d // heads, 1), c.size("intermediate_size"), 1,
                    gated=False, act=c.activation("hidden_act", default="gelu"), qkv_bias=c.flag("qkv_bias", True), out_bias=True, ffn_bias=True, layer_norm=True, rope=False,
                    encoder=True)
    c.read.update(("encoder_stride", "pooler_output_size", "pooler_act"))
    check_depth(t.key, t.layers)
    if patch > image or image > 2**16:
        raise c.fault("image_size", f"at least patch_size ({patch}), at most 65536")
    named = c.architecture
    if named and not named.endswith(("ForImageClassification", "ViTModel")):
        raise c.fault("architectures", "ViTForImageClassification or ViTModel")
    labels = 0 if named.endswith("ViTModel") else c.labels()
    side = image // patch
    length = side * side + 1

    def build(step: Step, notes: Sequence[str]) -> Workload:
        chain, b = Chain(f"{t.key}/{step.phase}", step.formats), step.batch
        tokens = b * length
        x = chain.input("image", b * channels * image * image)
        x = chain.vector("patches", "conv", [x], d * channels * patch * patch + d, batch=b, in_channels=channels, in_h=image, in_w=image, out_channels=d, out_h=side, out_w=side,
                         kernel_h=patch, kernel_w=patch, stride_h=patch, stride_w=patch, bias=1)
        x = chain.add(Op.of("class_token", "move", elements=tokens * d, dtype=chain.formats.vector, params=d), [x])
        x = chain.elementwise("positions", [x], tokens * d, ELEMENTWISE_COST["add"], length * d, length * d)
        for i in range(t.layers):
            chain.prefix = f"layers.{i}/"
            x = add_layer(chain, t, x, (Segment(b, length),), "forward", step.tensor, 1, "dense", 0, step.collectives)
        chain.prefix = ""
        x = chain.norm("final_norm", x, tokens, t, d)
        if labels:
            x = chain.product("labels", x, b, labels, d, bias=True)
        else:
            x = chain.elementwise("pooler_act", [chain.product("pooler", x, b, d, d, bias=True)], b * d, ELEMENTWISE_COST["tanh"])
        if step.phase == "train" and labels:
            chain.vector("loss", "softmax", [x], rows=b, cols=labels)
        return finished(chain, step, notes)

    return build
