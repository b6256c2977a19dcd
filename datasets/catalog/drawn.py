"""Entries of the catalogue that results made before rest on: lists of their own, so that a new entry changes none of them.

`DRAWN`, in the order of the draws, are the machines that seeded draws choose from: generated data, lessons of the simulator, benchmarks that take every machine.
`LAWFUL` are the language models that laws of all models are fitted to (`features/language_models.py`). To count a new entry in is to make those results anew: add
its key here then, not before.
"""

from __future__ import annotations

__all__ = ["DRAWN", "LAWFUL"]

DRAWN: tuple[str, ...] = (
    "a10", "a100_pcie", "a100_pcie_40gb", "a100_sxm", "a100_sxm_40gb", "a30", "a40", "a64fx", "aim_gddr6", "alveo_u250", "alveo_u280", "apple_m1", "apple_m1_max",
    "apple_m2", "b200_sxm", "coral_edge_tpu", "epyc_7763", "epyc_9654", "ethos_u55_256", "eyeriss", "gap8", "gaudi2", "gaudi3", "gb200", "graviton3", "groq_lpu_v1",
    "gtx_1080_ti", "gtx_titan_x", "h100_pcie", "h100_sxm", "h200_sxm", "h800_sxm", "hbm_pim", "intel_max_1550", "ipu_gc200", "jetson_agx_orin_64gb",
    "jetson_agx_xavier_32gb", "jetson_nano", "jetson_tx2", "l4", "l40s", "larc", "mi100", "mi210", "mi250", "mi250x", "mi250x_gcd", "mi300x", "p100_pcie", "p4",
    "pim_gpt", "pynq_z2", "quadro_rtx_6000", "raspberry_pi_4", "raspberry_pi_5", "rtx_2080_ti", "rtx_3080", "rtx_3090", "rtx_4070", "rtx_4080", "rtx_4090", "rtx_a6000",
    "sigma", "sn40l", "snapdragon_835", "snapdragon_845", "spinnaker2", "stm32f746", "stm32h743", "supernpu", "t4", "titan_rtx", "titan_xp", "tpu_like", "tpu_v1",
    "tpu_v2", "tpu_v3", "tpu_v4", "tpu_v5e", "upmem_pim", "v100_pcie", "v100_sxm", "vcu1525", "vega", "wse_2", "xeon_8380", "xeon_8480", "xeon_e5_2640_v4",
    "xeon_gold_6226", "xeon_gold_6240", "xeon_silver_4114", "xeon_silver_4210r", "zc706", "zcu102", "zcu104",
)

LAWFUL: tuple[str, ...] = (
    "aquila_7b", "bert_base", "bert_large", "bloom_176b", "bloom_7b1", "codellama_34b", "decilm_7b", "deepseek_v2", "deepseek_v2_lite", "deepseek_v3", "falcon_40b",
    "falcon_7b", "gemma2_27b", "gemma2_9b", "gemma_7b", "glm_5", "gpt2", "gpt2_large", "gpt2_medium", "gpt2_xl", "gpt3_175b", "gpt_neox_20b", "gpt_oss_120b",
    "gpt_oss_20b", "gptj_6b", "kimi_k2", "llama2_13b", "llama2_70b", "llama2_7b", "llama3.1_405b", "llama3.2_1b", "llama3.2_3b", "llama3_70b", "llama3_8b", "llama_65b",
    "llama_7b", "megatron_145b", "megatron_1t", "megatron_310b", "megatron_530b", "minimax_m2", "mistral_7b", "mixtral_8x22b", "mixtral_8x7b", "mt_nlg_530b", "opt_1.3b",
    "opt_125m", "opt_13b", "opt_175b", "opt_2.7b", "opt_30b", "opt_6.7b", "opt_66b", "palm_540b", "phi3_medium", "phi3_mini", "phi_2", "qwen1.5_7b", "qwen2_0.5b",
    "qwen2_1.5b", "qwen2_72b", "qwen2_7b", "qwen3_235b_a22b", "qwen3_30b_a3b", "qwen3_32b", "qwen3_8b", "yi_34b",
)
