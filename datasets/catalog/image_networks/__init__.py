"""Networks for images by name: `image_network("resnet50")`, in whatever way the name is decorated ("ResNet-50 v1.5", "mobilenet_v2_1.0_224_quant", "torchvision/vgg16").

The figures are those their authors publish, each list in `image_networks.yaml` under its source: parameters and the multiply-adds of one image at the resolution that stands beside them. Where a source
gives operations, a multiply-add counts as two of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

import yaml

__all__ = ["ImageNetwork", "image_network", "keys"]

#: what a name may end with and still be the same network: size of the image, number format, where it comes from, packaging. timm writes widths as 050, 075, 100 and 140: 100 is the network as published, the
#: others are none of it, and so an image of 110 to 140 pixels in tens is taken for none
_ENDINGS = re.compile(r"[\s_.\-(]+((?P<size>(?!0\d\d|1[0-4]0(?!\d))\d{3})(x(?P<other>\d{3}))?|100|v1\.5|x?1\.0x?|1x|quant(ized)?|u?int8|fp\d\d?|bf16|float(16|32)?|half|tf|tfl|tflite|onnx|pb|pth?|engine|pytorch|torch|caffe2?|keras|mxnet|edgetpu|coco|imagenet(1k)?|in1k|"
                      r"v1-\d{1,2}|(?<=v\d[\-_])\d{1,2}|opset\d+|opt|frozen|dynamic|b(atch|s)?\d+|inference|training)\)?$", re.IGNORECASE)


@dataclass(frozen=True)
class ImageNetwork:
    """`params` and `macs` (multiply-adds of one image, `resolution` pixels wide and high); None where the source does not say."""

    key: str
    macs: float
    params: float | None
    resolution: int | None
    source: str


@cache
def keys() -> tuple[str, ...]:
    """Every key, sorted."""
    return tuple(sorted(_all()[0]))


@cache
def image_network(name: str) -> ImageNetwork | None:
    """The network a name stands for, None where nobody knows it: as it is written, without its owner, without what it ends with; compared without regard to case, spaces, '-' and '_' (between
    digits they are dots). A name that ends with another size of the image ("yolov5s 320") has as many multiply-adds as it has more or fewer pixels."""
    networks, known = _all()
    text, pixels = name.strip(), 0
    while text:
        for written in (text, text.rpartition("/")[2]):
            key = known.get(_plain(written))
            if key is not None:
                network = networks[key]
                return replace(network, macs=network.macs * pixels / network.resolution**2, resolution=round(pixels**0.5)) if pixels and network.resolution else network
        ending = _ENDINGS.search(text)
        if ending is None:
            return None
        pixels = int(ending["size"]) * int(ending["other"] or ending["size"]) if ending["size"] else pixels
        text = text[: ending.start()]
    return None


@cache
def _all() -> tuple[dict[str, ImageNetwork], dict[str, str]]:
    """Key -> network, and key or alias as `_plain` writes it -> key."""
    lists = yaml.safe_load((files(__name__) / "image_networks.yaml").read_text(encoding="utf-8"))
    networks: dict[str, ImageNetwork] = {}
    known: dict[str, str] = {}
    for listed in lists:
        for key, told in listed["networks"].items():
            params = told.get("params")
            networks[key] = ImageNetwork(key, 1e9 * float(told["gmacs"]), None if params is None else float(params), told.get("resolution"), listed["source"])
            for written in (key, *told.get("also", ())):
                known.setdefault(_plain(written), key)
    return networks, known


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]", "", re.sub(r"(?<=\d)[\s_\-](?=\d)", ".", name.casefold()))
