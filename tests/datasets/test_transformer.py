"""Parameter counts against the published ones; graphs that hold exactly those parameters; sharding; the laws a layer obeys."""

from __future__ import annotations

import pytest

from silicast.datasets.catalog.transformers import keys, transformer
from silicast.datasets.errors import FormatError, InputError, UnknownNameError
from silicast.datasets.transformer import Segment, Transformer
from silicast.datasets.transformer_layers import head_workload, layer_workload, step_workload

#: key -> (total, active) as published: safetensors counts of the repositories, or the figure of the paper (two or three digits)
PUBLISHED = {
    "llama2_7b": (6_738_415_616, None), "llama2_13b": (13_015_864_320, None), "llama2_70b": (68_976_648_192, None), "llama3_8b": (8_030_261_248, None),
    "llama3_70b": (70_553_706_496, None), "llama3.1_405b": (405_853_388_800, None), "gpt2": (124_439_808, None), "gpt2_xl": (1_557_611_200, None),
    "gpt3_175b": (175e9, None), "opt_6.7b": (6_658_473_984, None), "bloom_176b": (176_247_271_424, None), "bloom_7b1": (7_069_016_064, None),
    "gpt_neox_20b": (20_554_567_680, None), "mistral_7b": (7_241_732_096, None), "mixtral_8x7b": (46_702_792_704, 12.9e9), "mixtral_8x22b": (140_620_634_112, 39e9),
    "qwen2_0.5b": (494_032_768, None), "qwen2_7b": (7_615_616_512, None), "qwen2_72b": (72_706_203_648, None), "qwen3_32b": (32_762_123_264, None),
    "qwen3_235b_a22b": (235e9, 22e9), "deepseek_v2": (236e9, 21e9), "deepseek_v3": (671e9, 37e9), "phi_2": (2_779_683_840, None),
    "phi3_mini": (3_821_079_552, None), "gemma_7b": (8_537_680_896, None), "gemma2_27b": (27_227_128_320, None), "yi_34b": (34_388_917_248, None),
    "palm_540b": (540.35e9, None), "mt_nlg_530b": (530e9, None), "megatron_1t": (1008e9, None), "gpt_oss_120b": (116.83e9, None), "gpt_oss_20b": (20.91e9, None),
    "qwen2.5_0.5b": (494_032_768, None), "qwen2.5_1.5b": (1_543_714_304, None), "qwen2.5_3b": (3_085_938_688, None), "qwen2.5_7b": (7_615_616_512, None),
    "qwen2.5_14b": (14_770_033_664, None), "qwen2.5_32b": (32_763_876_352, None), "qwen2.5_72b": (72_706_203_648, None),
    "deepseek_r1_distill_qwen_1.5b": (1_777_088_000, None), "qwen3_0.6b": (596_049_920, None), "qwen3_1.7b": (1_720_574_976, None), "qwen3_4b": (4_022_468_096, None),
    "qwen3_14b": (14_768_307_200, None), "gemma3_1b": (999_885_952, None), "gemma2_2b": (2_614_341_888, None), "gemma_2b": (2_506_172_416, None),
    "phi_4": (14_659_507_200, None), "phi3.5_mini": (3_821_079_552, None), "phi_4_mini": (3_836_021_760, None), "mistral_nemo_12b": (12_247_782_400, None),
    "mistral_small_24b": (23_572_403_200, None), "mistral_large_123b": (122_610_069_504, None), "codestral_22b": (22_247_282_688, None),
    "smollm2_135m": (134_515_008, None), "smollm2_360m": (361_821_120, None), "smollm2_1.7b": (1_711_376_384, None), "smollm3_3b": (3_075_098_624, None),
    "tinyllama_1.1b": (1_100_048_384, None), "yi_6b": (6_061_035_520, None), "yi1.5_9b": (8_829_407_232, None), "falcon3_1b": (1_669_408_768, None),
    "falcon3_3b": (3_227_655_168, None), "falcon3_7b": (7_455_550_464, None), "falcon3_10b": (10_305_653_760, None), "granite3.1_8b": (8_170_848_256, None),
    "granite3.1_2b": (2_533_531_648, None), "glm4_9b": (9_399_951_360, None), "dbrx": (131_596_523_520, None), "command_r_35b": (34_980_831_232, None),
    "codellama_7b": (6_738_546_688, None), "codellama_13b": (13_016_028_160, None), "llama_13b": (13_015_864_320, None), "llama_30b": (32_528_943_616, None),
    "starcoder2_3b": (3_030_371_328, None), "starcoder2_7b": (7_173_923_840, None), "starcoder2_15b": (15_957_889_024, None), "internlm2_7b": (7_737_708_544, None),
    "internlm2_20b": (19_861_149_696, None), "baichuan2_7b": (7_505_973_248, None), "baichuan2_13b": (13_896_668_160, None), "chatglm3_6b": (6_243_584_000, None),
    "mpt_7b": (6_649_286_656, None), "deepseek_llm_7b": (6_910_365_696, None), "deepseek_coder_6.7b": (6_740_512_768, None), "deepseek_coder_33b": (33_342_991_360, None),
    "qwen1.5_0.5b": (463_987_712, None), "qwen1.5_1.8b": (1_836_828_672, None), "qwen1.5_4b": (3_950_369_280, None), "qwen1.5_14b": (14_167_290_880, None),
    "qwen1.5_32b": (32_512_218_112, None), "qwen1.5_72b": (72_287_920_128, None), "qwen1.5_110b": (111_209_914_368, None), "pythia_70m": (70_426_624, None),
    "pythia_160m": (162_322_944, None), "pythia_410m": (405_334_016, None), "pythia_1b": (1_011_781_632, None), "pythia_1.4b": (1_414_647_808, None),
    "pythia_2.8b": (2_775_208_960, None), "pythia_6.9b": (6_857_302_016, None), "pythia_12b": (11_846_072_320, None), "llama4_scout": (107.77e9, 17e9),
    "llama4_maverick": (400.7e9, 17e9), "qwen3_coder_480b_a35b": (480e9, 35e9),
}


@pytest.mark.parametrize("key", PUBLISHED)
def test_parameters_are_the_published_ones(key: str) -> None:
    total, active = PUBLISHED[key]
    model = transformer(key)
    assert model.params == pytest.approx(total, rel=0.005)
    if active:
        assert model.active_params == pytest.approx(active, rel=0.02)  # published to two digits


def test_every_model_of_the_catalogue_stands() -> None:
    for key in keys():
        model = transformer(key)
        assert model.key == key
        assert model.source
        assert sum(b.count for b in model.blocks) == model.layers
        assert model.active_params <= model.params
        assert Transformer.from_json(model.to_json()) == model


@pytest.mark.parametrize("key", ["llama3_8b", "qwen2_7b", "mixtral_8x7b", "deepseek_v3", "gpt2", "gpt_oss_20b", "deepseek_v2_lite", "falcon_7b", "gemma2_9b"])
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_graphs_hold_exactly_the_parameters_of_the_model(key: str, phase: str) -> None:
    model = transformer(key)
    in_layers = sum(b.count * layer_workload(model, phase, 2, 4, 128, layer=b.kind, window=b.window).params for b in model.blocks)
    assert in_layers + head_workload(model, phase, 2, 4).params == model.params


def test_matrix_work_of_a_dense_layer_by_hand() -> None:
    # Llama 2 7B, 512 tokens: 2 x 512 x (4 x 4096^2 + 3 x 4096 x 11008) in products and 2 x 2 x 32 x 128 x (512 x 513 / 2) in causal attention
    flops = layer_workload(transformer("llama2_7b"), "prefill", 1, 512).columns.matrix_flops.sum()
    assert flops == 2 * 512 * (4 * 4096**2 + 3 * 4096 * 11008) + 4 * 32 * 128 * 512 * 513 / 2


def test_cache_by_hand() -> None:
    assert transformer("llama2_70b").kv_bytes_per_token() == 80 * 2 * 8 * 128 * 2
    assert transformer("deepseek_v3").kv_bytes_per_token() == 61 * 576 * 2  # the 70 KB of DeepSeek-V3, table 1 of arXiv:2505.09343
    assert transformer("mistral_7b").kv_bytes(10_000) == transformer("mistral_7b").kv_bytes(4096)


def test_shards_add_up() -> None:
    model = transformer("llama3_70b")
    whole = layer_workload(model, "prefill", 1, 256).columns.matrix_flops.sum()
    parts = layer_workload(model, "prefill", 1, 256, tensor=8).columns.matrix_flops.sum()
    assert 8 * parts == pytest.approx(whole)


def test_experts_spread_over_devices() -> None:
    model = transformer("deepseek_v3")
    one = layer_workload(model, "decode", 64, 1, 1024, layer="moe")
    spread = layer_workload(model, "decode", 64, 1, 1024, layer="moe", expert=64)  # 64 replicas of attention with 64 sequences each
    held = {op.name: op.params for op in spread.ops}
    assert held["experts_up"] * 64 == next(op.params for op in one.ops if op.name == "experts_up")
    rows = next(op.dims["m"] for op in spread.ops if op.name == "experts_up")
    assert rows == 64 * 64 * 8 // 64


def test_few_tokens_hit_few_experts() -> None:
    groups = [next(op.dims["groups"] for op in layer_workload(transformer("mixtral_8x7b"), "decode", b, 1, 64).ops if op.name == "experts_up") for b in (1, 4, 64)]
    assert groups[0] == 2
    assert groups == sorted(groups)
    assert groups[2] == 8


def test_quantised_formats() -> None:
    ops = {op.name: op for op in layer_workload(transformer("llama2_7b"), "decode", 8, 1, 512, dtype="int8", weight_dtype="int4", kv_dtype="float8").ops}
    assert (ops["qkv"].dtype, ops["qkv"].weight_dtype, ops["qkv"].output_dtype) == ("int8", "int4", "bfloat16")
    assert (ops["attention0"].dtype, ops["attention0"].weight_dtype) == ("bfloat16", "float8")


def test_backward_is_twice_the_products_and_two_and_a_half_times_attention() -> None:
    model = transformer("llama2_7b")
    forward, backward = (layer_workload(model, p, 1, 2048).columns for p in ("forward", "backward"))
    attention = 4 * 32 * 128 * 2048 * 2049 / 2
    assert backward.matrix_flops.sum() == pytest.approx(2 * (forward.matrix_flops.sum() - attention) + 2.5 * attention)
    both = layer_workload(model, "train", 1, 2048)
    assert both.columns.matrix_flops.sum() == pytest.approx(forward.matrix_flops.sum() + backward.matrix_flops.sum())
    assert both.params == model.layer_params("dense")


def test_mixed_steps_share_the_linear_layers() -> None:
    model = transformer("llama3_8b")
    mixed = step_workload(model, [Segment(1, 480, 512), Segment(32, 1, 1024)])
    assert [op.dims["m"] for op in mixed.ops if op.name == "qkv"] == [512]
    assert sum(op.kind == "attention" for op in mixed.ops) == 2


def test_bad_input_is_one_clear_error() -> None:
    model = transformer("llama3_8b")
    with pytest.raises(InputError, match="do not divide into 7 parts"):
        layer_workload(model, "prefill", 1, 8, tensor=7)
    with pytest.raises(UnknownNameError, match="phase"):
        layer_workload(model, "prefil")
    with pytest.raises(InputError, match="encoder"):
        layer_workload(transformer("bert_base"), "decode")
    with pytest.raises(InputError, match="expected dense"):
        layer_workload(model, layer="moe")
    with pytest.raises(UnknownNameError, match="llama3_8b"):
        transformer("llama3_8")
    with pytest.raises(InputError, match="kv_heads"):
        Transformer("x", "x", 1, 64, 8, 3, 8, 64, 100)


def test_a_file_of_ones_own(tmp_path: object) -> None:
    path = tmp_path / "mine.yaml"  # type: ignore[operator]
    path.write_text("key: mine\nname: Mine\nsource: me\nlayers: 2\nhidden: 64\nheads: 4\nkv_heads: 4\nhead_dim: 16\nffn: 128\nvocab: 100\n")
    assert transformer(str(path)).layers == 2
    path.write_text("key: mine\nname: Mine\nsource: me\nlayer: 2\n")
    with pytest.raises(FormatError, match="unknown layer; missing ffn"):
        transformer(str(path).replace("mine", "./mine"))
