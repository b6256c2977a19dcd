"""Words never seen and the known ones they are like."""

import pandas as pd

from silicast.features.words import alike, likened

KERNELS = ("CutlassFp8BlockScaledMMKernel", "CutlassFP8ScaledMMLinearKernel", "torch_flow", "sglang_torch_linear")


def test_a_kernel_is_like_the_one_that_shares_most_of_its_name() -> None:
    assert alike("TritonFp8BlockScaledMMKernel", KERNELS) == "CutlassFp8BlockScaledMMKernel"


def test_few_parts_or_few_in_common_tell_nothing() -> None:
    assert alike("vllm_default", KERNELS) is None
    assert alike("torch_flux", KERNELS) is None
    assert alike("PLUGIN_V2_SmoothQuantGemm_0", KERNELS) is None
    assert alike("TritonFp8BlockScaledMMKernel", ()) is None


def test_equals_are_told_apart_by_name_alone() -> None:
    words = ("b_scaled_mm_kernel", "a_scaled_mm_kernel")
    assert alike("c_scaled_mm_kernel", words) == alike("c_scaled_mm_kernel", words[::-1]) == "a_scaled_mm_kernel"


def test_known_words_stay_and_strange_ones_stay_strange() -> None:
    column = pd.Series(["torch_flow", "TritonFp8BlockScaledMMKernel", "vllm_default"])
    assert likened(column, KERNELS).tolist() == ["torch_flow", "CutlassFp8BlockScaledMMKernel", "vllm_default"]
    assert column.tolist()[1] == "TritonFp8BlockScaledMMKernel"
