"""Networks for images by name."""

import pytest

from silicast.datasets.catalog.image_networks import image_network, keys


@pytest.mark.parametrize(("written", "key"), [
    ("ResNet-50", "resnet50"), ("resnet50 v1.5", "resnet50"), ("resnet50-v1-7", "resnet50"), ("ResNet-50 V1", "resnet50_v1"), ("ResNet-50 V2", "resnetv2_50"), ("torchvision/resnet18", "resnet18"),
    ("MobileNetV2_1.0_224_quant", "mobilenet_v2"), ("mobilenet_v1_1.0_224", "mobilenet_v1"), ("MobileNet v1 SSD", "ssd_mobilenet_v1"), ("MobileNetV3_Large", "mobilenet_v3_large"), ("InceptionV3", "inception_v3"),
    ("vgg16_bn", "vgg16_bn"), ("VGG-16", "vgg16"), ("vit_base_patch16_224", "vit_b_16"), ("regnetx_032", "regnet_x_3_2gf"), ("tiny-yolov3", "yolov3_tiny"), ("resnet-50-fp16", "resnet50"), ("ResNet50.onnx", "resnet50"),
])
def test_names_as_tables_write_them(written, key):
    assert image_network(written).key == key


@pytest.mark.parametrize(("written", "key"), [
    ("mobilenet-v1-224", "mobilenet_v1"), ("mobilenet-v2-224", "mobilenet_v2"), ("mobilenet-v3-224", "mobilenet_v3_large"), ("mobilenet_v2-7", "mobilenet_v2"), ("shufflenet-v2-10", "shufflenet_v2_x1_0"),
    ("resnet50-v1-7", "resnet50"), ("resnet50-v2-7", "resnetv2_50"), ("mobilenetv2_100", "mobilenet_v2"), ("mobilenetv2_140", "mobilenet_v2_1.4"), ("mobilenetv3_large_100", "mobilenet_v3_large"),
])
def test_versions_and_widths_are_no_sizes_of_the_image(written, key):
    found = image_network(written)
    assert found == image_network(key)


@pytest.mark.parametrize("written", ["ssd-mobilenet-v2-300", "mobilenetv2_050", "mnasnet_075", "bert-base-uncased", "resnet", "efficientnet-lite0", "Unet Mv2", "DenseNet", "llama-2-7b", "", "_224", "v1.5", "int8"])
def test_others_are_not_known(written):
    assert image_network(written) is None


def test_another_size_of_the_image():
    whole, small = image_network("yolov8n (640x640)"), image_network("yolov8n_320")
    assert (whole.resolution, small.resolution) == (640, 320)
    assert small.macs == pytest.approx(whole.macs / 4)
    assert small.params == whole.params
    for wide in ("yolov8n_320x640", "yolov8n_640x320"):
        assert image_network(wide).macs == pytest.approx(whole.macs / 2)


def test_every_network_has_a_source_and_plausible_figures():
    for key in keys():
        network = image_network(key)
        assert network.key == key
        assert network.source
        assert 1e7 < network.macs < 1e12
        assert (network.params is None or 4e5 < network.params < 1e9)


def test_published_by_others():
    """He et al. 2015, Table 1: 3.8e9 (first form), and section 3.3: an 18-layer network of 1.8e9, a 34-layer one of 3.6e9; Simonyan and Zisserman 2014, Table 2: 138 and 144 million parameters."""
    assert image_network("resnet18").macs == pytest.approx(1.8e9, rel=0.02)
    assert image_network("resnet34").macs == pytest.approx(3.6e9, rel=0.03)
    assert image_network("vgg16").params == pytest.approx(138e6, rel=0.01)
    assert image_network("vgg19").params == pytest.approx(144e6, rel=0.01)
