"""Where a registered version comes from and how good it was found to be, as tags of the version: what a search of the registry reads, without a model's files.

    shape, targets, families, kinds        what it answers, and the workload families and kinds of machine it was judged on
    data_source, data_digest, data_rows    what it learned from;   test_digest   the rows it was judged on
    split, seed, member, experiment        how
    simulator_version, feature_version, silicast_version, code_revision
    model_digest                           the model folder (its `model.json` lists the digest of every file)
    parity                                 how far its fast form is from it, or that it has none
    slice/all, slice/family/mlp, ...       target -> measure -> value, of rows it never saw
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..surrogates.card import ModelCard
from .gate import Parity

#: the slices and measures that a search can ask for; single devices are in the card
SLICES = ("family", "kind")
MEASURES = ("rows", "median_ape", "mape", "p90_ape", "within_5", "within_10", "rmspe", "r2_log", "spearman", "kendall", "top1_regret", "coverage", "log_width", "auroc", "brier")
#: characters that an MLflow tag holds, with a little room
MOST = 4900


def tags_of(card: ModelCard, folder: Path, parity: Parity | None) -> dict[str, str]:
    """The tags of a version with this card, in this folder."""
    families, kinds = (sorted({key.partition("=")[2] for key in card.metrics if key.startswith(f"{of}=")}) for of in SLICES)
    told = {"shape": card.shape, "targets": ",".join(card.targets), "families": ",".join(families), "kinds": ",".join(kinds or card.domain.get("device_kinds", ())),
            "data_source": card.data_source, "data_digest": card.data_digest, "data_rows": str(card.data_rows), "test_digest": str(card.extra.get("test_digest", "")), "split": card.split,
            "seed": str(card.seed), "member": str(card.extra.get("member", "")), "experiment": str(card.extra.get("experiment", "")), "simulator_version": card.simulator_version,
            "feature_version": card.feature_version, "silicast_version": card.silicast_version, "code_revision": card.code_revision, "model_digest": digest(folder),
            "parity": parity.text() if parity is not None else "no fast form"}
    slices = {_key(where): json.dumps({target: {m: round(float(of[m]), 6) for m in MEASURES if m in of} for target, of in found.items() if isinstance(of, Mapping)})
              for where, found in card.metrics.items() if where == "all" or where.startswith(tuple(f"{of}=" for of in SLICES))}
    return {key: value[:MOST] for key, value in told.items()} | {key: value for key, value in slices.items() if len(value) <= MOST}


def figure(tags: Mapping[str, str], target: str, measure: str, where: str = "all") -> float | None:
    """A recorded measure of a version in the slice `where` ("all" or "COLUMN=VALUE"); None where there is none."""
    try:
        value = json.loads(tags.get(_key(where), "{}"))[target][measure]
    except (ValueError, KeyError, TypeError):
        return None
    return float(value) if isinstance(value, (int, float)) else None


def listed(tags: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The entries of a comma-separated tag."""
    return tuple(part for part in tags.get(name, "").split(",") if part)


def digest(folder: Path) -> str:
    """Of a model folder: the SHA-256 of its `model.json`, which holds that of every other file."""
    return hashlib.sha256((folder / "model.json").read_bytes()).hexdigest()[:16]


def whole(folder: Path) -> bool:
    """Whether every file of a model folder is there as its `model.json` says."""
    try:
        files: Any = json.loads((folder / "model.json").read_text(encoding="utf-8"))["files"]
        return all(Path(name).name == name and hashlib.sha256((folder / name).read_bytes()).hexdigest() == said for name, said in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _key(where: str) -> str:
    """A slice as a tag's name: MLflow takes letters, digits and `_-. /`."""
    column, _, value = where.partition("=")
    return "/".join(["slice", column, *([value] if value else [])]).translate({ord(c): "_" for c in "=:,()[]{}<>*+&%$#@!?;'\"\\|^~`"})[:250]
