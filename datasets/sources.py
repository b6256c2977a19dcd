"""The open measured data that silicast knows: where it comes from, under which licence, which files. The data itself is not part of silicast.

A set is read from a folder the user names: `--data FOLDER`, or the environment variable `SILICAST_DATA`. `digests` says which bytes were read, so
that a model's card can say what it learned from.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import FormatError, InputError, UnknownNameError

VARIABLE = "SILICAST_DATA"


@dataclass(frozen=True)
class Source:
    """One open set. `name`: also its folder; `repository`: who published it, on GitHub; `licence`: SPDX identifier; `holder`: the copyright line of its
    licence, "" where the text names none; `files`: what silicast reads of it; `about`: what was measured."""

    name: str
    repository: str
    licence: str
    holder: str
    files: tuple[str, ...]
    about: str

    @property
    def attribution(self) -> str:
        """One line that says whose data it is."""
        return f"{self.repository} ({self.licence}{f', {self.holder}' if self.holder else ''})"


#: the sets that ready-made models learn from; sets under share-alike terms are left out, for a model would inherit them
SOURCES: dict[str, Source] = {source.name: source for source in (
    Source("aiconfigurator", "ai-dynamo/aiconfigurator", "Apache-2.0", "",
           ("gemm.parquet", "attention_context.parquet", "attention_generation.parquet", "moe.parquet", "mla_context.parquet", "mla_generation.parquet", "power_gemm.parquet",
            "power_attention_context.parquet", "power_attention_generation.parquet", "serving_end_to_end.parquet"),
           "LLM kernels and served models on A100, H100, L40S, B200, GB200: latency, NVML power, TTFT and TPOT"),
    Source("neusight", "sitar-lab/NeuSight", "MIT", "Copyright (c) 2025 Georgia Institute of Technology and Microsoft Corporation", ("op_latency.parquet",),
           "float32 PyTorch operators on P4, P100, V100, T4, A100"),
    Source("vidur", "microsoft/vidur", "MIT", "Copyright (c) Microsoft Corporation", ("compute_ops.parquet",), "operators of language models' layers on A100 and A40"),
    Source("help", "HayeonLee/HELP", "MIT", "Copyright (c) 2024 HayeonLee", ("nasbench201_latency.parquet",), "latency of NAS-Bench-201 architectures on phones, CPUs and GPUs"),
    Source("hls4ml", "Dendendelen/wa-hls4ml-search", "Apache-2.0", "", ("two_layer_dense.parquet",), "two-layer dense networks through hls4ml and HLS synthesis, for an Alveo U250"),
    Source("llm_inference_bench", "argonne-lcf/LLM-Inference-Bench", "BSD-3-Clause", "Copyright (c) 2024, UChicago Argonne, LLC", ("throughput.parquet",),
           "language models served on A100, H100, MI250, Gaudi2, Intel Max: end-to-end latency"),
    Source("splitwise", "Mutinifni/splitwise-sim", "MIT", "Copyright (c) 2024 Pratyush Patel", ("perf.parquet",), "prompt and token phases of language models on A100 and H100"),
)}


def source(name: str) -> Source:
    """The set of that name; raises UnknownNameError naming the nearest."""
    if name not in SOURCES:
        raise UnknownNameError("open data set", name, SOURCES)
    return SOURCES[name]


def data_folder(given: str | Path | None = None) -> Path:
    """The folder that holds the open sets: `given`, or the one `SILICAST_DATA` names. Raises InputError saying what is missing."""
    place = given or os.environ.get(VARIABLE)
    if not place:
        raise InputError(f"the open measured data is not part of silicast: say where it lies with --data FOLDER or the environment variable {VARIABLE} "
                         f"(a folder with {', '.join(SOURCES)} in it)")
    if not Path(place).is_dir():
        raise FormatError(f"{place}: no such folder; expected the open measured data ({', '.join(SOURCES)})")
    return Path(place)


def files(folder: Path, needed: Sequence[tuple[str, str]]) -> dict[str, Path]:
    """`SET/FILE` -> its place in the data folder, for (set, file) pairs. Raises FormatError naming the first that is not there."""
    found = {}
    for name, file in needed:
        if file not in source(name).files:
            raise UnknownNameError(f"file of {name}", file, source(name).files)
        place = folder / name / file
        if not place.is_file():
            raise FormatError(f"{place}: missing; it is {source(name).about}, published by {source(name).repository}")
        found[f"{name}/{file}"] = place
    return found


def digests(found: dict[str, Path]) -> dict[str, str]:
    """`SET/FILE` -> the SHA-256 of its bytes."""
    out = {}
    for name, place in found.items():
        sha = hashlib.sha256()
        with place.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                sha.update(block)
        out[name] = sha.hexdigest()
    return out
