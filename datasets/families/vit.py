"""Vision transformers (Dosovitskiy et al., ICLR 2021), plain or behind a convolutional stem."""

from __future__ import annotations

from ..layers import Net
from .blocks import encoder_block
from .draw import MAX_PIXELS, MAX_TOKENS, WITH_INT8, Draw

#: a block is ten ops, so this is what depth 24 (ViT-L) takes
MAX_OPS_VIT = 250


def vit(draw: Draw) -> Net:
    """Patches of 4 to 32 pixels, width 32 to 1536, depth 1 to 24: DeiT-tiny to ViT-L and smaller ones."""
    net = Net("vit", draw.pick(WITH_INT8, (0.4, 0.3, 0.15, 0.15)), family="vit", fold_norm=draw.chance(0.5))
    patch = draw.pick((16, 8, 14, 32, 4), (0.5, 0.15, 0.1, 0.2, 0.05))
    rows = 224 // patch if draw.chance(0.35) else draw.integer(2, max(4, min(64, (1024 >> min(draw.shrink, 2)) // patch)))
    height = rows * patch
    width = height if draw.chance(0.85) else patch * draw.integer(2, 1024 // patch)
    tokens = (height // patch) * (width // patch)
    batch = draw.batch(max(1, min(256, MAX_PIXELS // (height * width), MAX_TOKENS // tokens)))
    x = net.image(batch, draw.pick((3, 1), (0.93, 0.07)), height, width)
    heads = draw.pick((3, 4, 6, 8, 12, 16, 2, 1), (0.15, 0.1, 0.15, 0.1, 0.2, 0.15, 0.1, 0.05))
    dim = heads * draw.pick((64, 32, 80, 96, 48), (0.7, 0.15, 0.05, 0.05, 0.05))
    if draw.chance(0.25) and patch >= 8:
        with net.scope("stem"):
            step, channels = patch, max(8, dim // 8)
            for _ in range(draw.pick((1, 2, 3))):
                if step % 2 == 0 and step > 2:
                    x = net.conv_norm(x, channels, 3, 2)
                    step, channels = step // 2, 2 * channels
            y = net.patch_embed(x, step, dim, name="patches")
    else:
        y = net.patch_embed(x, patch, dim, name="patches")
    with_class = draw.chance(0.7)
    if with_class:
        y = net.class_token(y)
    y = net.position_embedding(y)
    hidden = round(dim * draw.pick((4.0, 3.0, 2.0, 8 / 3), (0.8, 0.08, 0.08, 0.04)))
    depth = 12 if draw.chance(0.2) and draw.shrink < 2 else draw.depth(1, 24)
    act, fused = draw.pick(("gelu", "relu", "silu"), (0.85, 0.1, 0.05)), draw.chance(0.7)
    if not fused:
        depth = min(depth, 19)
    for i in range(depth):
        with net.scope(f"block{i}"):
            y = encoder_block(net, y, heads, hidden, act, fused=fused)
    y = net.layer_norm(y)
    pooled = net.reshape(net.narrow(y, 1), (y.shape[0], dim)) if with_class else net.mean(y, 1)
    net.linear(pooled, draw.classes(), name="classifier")
    return net
