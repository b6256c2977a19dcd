"""The measured rows of a drift store as a table that `silicast calibrate` and `silicast evaluate` read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..datasets.errors import FormatError, TableError
from ..datasets.measurement import TARGETS
from ..datasets.ops import OP_KINDS

TABLE, SCHEMA = "measured.csv", "schema.yaml"


def write_table(folder: Path, values: pd.DataFrame, documents: Mapping[str, Mapping[str, Any]]) -> tuple[Path, Path]:
    """Writes `measured.csv` and `schema.yaml` into `folder`; `values` has question, hardware and one column per target.

    Raises FormatError for a folder that cannot be written, TableError for questions of several shapes.
    """
    targets = [str(c) for c in values.columns if c not in ("question", "hardware")]
    shapes = {"workload" if "workload" in d else "op" if d.get("values", {}).get("kind") in OP_KINDS else "features" for d in documents.values()}
    if len(shapes) > 1:
        raise TableError(f"drift store: truths of {' and '.join(sorted(shapes))} questions; export one model at a time")
    shape = shapes.pop()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        frame, schema = {"workload": _networks, "op": _operators, "features": _features}[shape](folder, values, documents)
        schema["targets"] = {name: {"column": name, "unit": TARGETS[name].unit} if name in TARGETS else {"column": name} for name in targets}
        frame.to_csv(folder / TABLE, index=False)
        (folder / SCHEMA).write_text(json.dumps(schema, indent=1), encoding="utf-8")  # JSON is YAML
    except OSError as error:
        raise FormatError(f"{folder}: cannot be written ({error})") from None
    return folder / TABLE, folder / SCHEMA


def _networks(folder: Path, values: pd.DataFrame, documents: Mapping[str, Mapping[str, Any]]) -> tuple[pd.DataFrame, dict[str, Any]]:
    (folder / "workloads").mkdir(exist_ok=True)
    places = {}
    for digest, document in documents.items():
        name = f"workloads/{document['workload']['digest']}.json"
        (folder / name).write_text(json.dumps(document["workload"]), encoding="utf-8")
        places[digest] = name
    frame = values.drop(columns="question")
    frame.insert(0, "workload", values["question"].map(places))
    return frame, {"workload": {"column": "workload", "format": "path"}, "hardware": "hardware"}


def _operators(folder: Path, values: pd.DataFrame, documents: Mapping[str, Mapping[str, Any]]) -> tuple[pd.DataFrame, dict[str, Any]]:
    asked = pd.DataFrame([documents[d]["values"] for d in values["question"]])
    kinds = sorted(set(asked["kind"]))
    if len(kinds) > 1:
        raise TableError(f"drift store: truths of operators of several kinds ({', '.join(kinds)}); export one model at a time")
    spec = OP_KINDS[kinds[0]]
    if "dtype" not in asked:
        asked["dtype"] = "float16"
    asked["dtype"] = asked["dtype"].fillna("float16")
    dims = [name for name in spec.dims if name in asked]
    for name in dims:
        asked[name] = asked[name].fillna(spec.optional.get(name)).astype("int64")
    context = [c for c in asked.columns if c not in (*dims, "kind", "dtype") and not pd.api.types.is_numeric_dtype(asked[c])]
    features = [c for c in asked.columns if c not in (*dims, "kind", "dtype", *context)]
    frame = pd.concat([asked.drop(columns="kind"), values.drop(columns="question").reset_index(drop=True)], axis=1)
    return frame, {"op": kinds[0], "columns": {name: name for name in (*dims, "dtype")}, "hardware": "hardware", **({"context": context} if context else {}),
                   **({"features": features} if features else {})}


def _features(folder: Path, values: pd.DataFrame, documents: Mapping[str, Mapping[str, Any]]) -> tuple[pd.DataFrame, dict[str, Any]]:
    asked = pd.DataFrame([documents[d]["values"] for d in values["question"]])
    return pd.concat([asked, values.drop(columns=["question", "hardware"]).reset_index(drop=True)], axis=1), {"features": [str(c) for c in asked.columns]}
