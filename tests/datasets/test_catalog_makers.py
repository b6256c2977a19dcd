"""Machines of makers other than NVIDIA: headline figures typed by hand from their citations, and names as people write them."""

import pytest

from silicast.datasets.catalog import hardware
from silicast.datasets.errors import UnknownNameError

HEADLINES = [
    # key, float32 or the format told, Top/s, outermost memory in GB/s
    ("mi300a", "float16", 980.6, 5300), ("mi325x", "float8", 2614.9, 6000), ("mi350x", "float16", 2306.9, 8000), ("mi355x", "float4", 10066, 8000), ("mi60", "float16", 29.5, 1024),
    ("radeon_vii", "float32", 13.8, 1024), ("rx_6900_xt", "float16", 46.08, 512), ("rx_7900_xtx", "float32", 61.4, 960), ("rx_9070_xt", "int8", 389, 640),
    ("intel_max_1100", "float32", 22.2, 1228.8), ("arc_a770", "float32", 17.2, 560), ("arc_b580", "float32", 13.67, 456), ("arc_pro_b60", "int8", 197, 456),
    ("apple_m1_pro", "float32", 5.2, 200), ("apple_m2_ultra", "float32", 27.2, 800), ("apple_m3_max", "float32", 14.13, 400), ("apple_m4_max", "float32", 16.16, 546),
    ("tpu_v5p", "bfloat16", 459, 2765), ("tpu_v6e", "int8", 1836, 1638), ("trainium1", "int8", 380, 820), ("trainium2", "bfloat16", 667, 2900), ("cloud_ai_100_ultra", "int8", 870, 548),
    ("wormhole_n300", "float8", 466, 576), ("xeon_gold_6148", "float32", 3.072, 128), ("xeon_8280", "int8", 19.35, 140.8), ("xeon_8592", "bfloat16", 124.5, 358.4), ("epyc_7742", "float32", 4.608, 204.8),
    ("epyc_9755", "float64", 11.06, 576), ("ryzen_9_7950x", "float32", 2.304, 83.2), ("core_i9_9900k", "float32", 0.9216, 42.66), ("graviton2", "float32", 2.56, 204.8), ("graviton4", "float32", 8.6, 537.6),
    ("raspberry_pi_3", "float32", 0.0384, 3.6), ("snapdragon_855", "float32", 0.1616, 34.1), ("snapdragon_8_gen_2", "float32", 0.2816, 67.2), ("exynos_8890", "float32", 0.0736, 28.7),
]


@pytest.mark.parametrize(("key", "dtype", "tops", "gigabytes"), HEADLINES)
def test_headline_figures(key, dtype, tops, gigabytes):
    device = hardware(key)
    assert device.matrix_rate[dtype] == pytest.approx(tops * 1e12, rel=2e-3)
    assert device.dram_bandwidth == pytest.approx(gigabytes * 1e9, rel=2e-3)


@pytest.mark.parametrize(("key", "lut", "dsp", "block_rams", "uram"), [
    ("alveo_u200", 1182240, 6840, 2160, 960), ("alveo_u50", 871680, 5952, 1344, 640), ("alveo_u55c", 1303680, 9024, 2016, 960), ("kcu1500", 663360, 5520, 2160, 0),
    ("kv260", 117120, 1248, 144, 64), ("ultra96", 70560, 360, 216, 0), ("zedboard", 53200, 220, 140, 0), ("vc707", 303600, 2800, 1030, 0),
])
def test_fabrics(key, lut, dsp, block_rams, uram):
    fabric = hardware(key).fabric
    assert (fabric.lut, fabric.dsp, fabric.bram_18k, fabric.uram) == (lut, dsp, 2 * block_rams, uram)
    assert hardware(key).memory[0].capacity_bytes * 8 == block_rams * 36 * 1024 + uram * 288 * 1024


@pytest.mark.parametrize(("name", "key"), [
    ("AMD Instinct MI325X 256GB", "mi325x"), ("Radeon RX 7900 XTX 24GB", "rx_7900_xtx"), ("AMD Radeon RX 6900 XT", "rx_6900_xt"), ("Intel Arc A770", "arc_a770"), ("Apple M3 Max 40-core GPU", "apple_m3_max"),
    ("M2 Ultra", "apple_m2_ultra"), ("TPU v6e", "tpu_v6e"), ("Trillium", "tpu_v6e"), ("AWS Inferentia2", "trainium1"), ("Qualcomm Cloud AI 100", "cloud_ai_100_pro"), ("n300", "wormhole_n300"),
    ("Intel(R) Xeon(R) Gold 6148 CPU @ 2.40GHz", "xeon_gold_6148"), ("Intel(R) Xeon(R) Platinum 8280 CPU @ 2.70GHz", "xeon_8280"), ("AMD EPYC 7742 64-Core Processor", "epyc_7742"), ("gold_6230", "xeon_gold_6230"),
    ("Intel(R) Core(TM) i9-9900K CPU @ 3.60GHz", "core_i9_9900k"), ("AMD Ryzen 9 5950X 16-Core Processor", "ryzen_9_5950x"), ("raspi3", "raspberry_pi_3"),
    ("pixel4", "snapdragon_855"), ("Snapdragon 8 Gen 2", "snapdragon_8_gen_2"), ("u55c", "alveo_u55c"), ("xcku115", "kcu1500"), ("Pynq-Z1", "pynq_z2"), ("xc7z020", "pynq_z2"), ("NUCLEO-L4R5ZI", "stm32l4r5"),
])
def test_names_as_people_write_them(name, key):
    assert hardware(name).key == key


@pytest.mark.parametrize("name", ["Snapdragon 8 Gen 4", "RX 7900", "Apple M3 Max 30-core GPU", "Apple M3 Max CPU", "M4 Ultra", "Xeon Gold 6248R", "EPYC 7742 x 2", "NVIDIA M4", "Raspberry Pi 3A"])
def test_names_of_other_machines(name):
    with pytest.raises(UnknownNameError):
        hardware(name)


def test_cores_of_two_speeds_add_up():
    assert hardware("core_i9_12900k").matrix_rate["float32"] == pytest.approx((32 * 3.2e9 + 16 * 2.4e9) * 8)
    assert hardware("snapdragon_888").matrix_rate["float32"] == pytest.approx(32 * 2.84e9 + 3 * 16 * 2.42e9)
    assert hardware("google_tensor").units == 4
