"""A registered model as MLflow's own tools see it: `mlflow.pyfunc.load_model("models:/NAME@champion").predict(frame)`.

In: a DataFrame with the columns `workload_json` (a workload document) and `hardware` (a catalogue key, or a hardware document in
JSON); for a model of a plain feature table, its columns. Out: `T`, `T_low`, `T_high` per target in SI, then `domain` and
`domain_reason`. It is the slow, convenient way; serving has the fast one.

What is registered is the model folder and a script of three lines (`SCRIPT`), never a pickle: the code is silicast's own, installed
where the model is loaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ..datasets.errors import FormatError, InputError, SilicastError
from ..datasets.table import FeatureQuestions, GraphQuestions

#: the code that lies beside a registered model folder
SCRIPT = '''"""The MLflow entry of a silicast model folder; the code is the installed silicast."""
from mlflow.models import set_model

from silicast.training.pyfunc import python_model

set_model(python_model())
'''
#: the name under which the model folder is an artifact of the MLflow model
ARTIFACT = "model"


def answer_frame(folder: str | Path, frame: pd.DataFrame) -> pd.DataFrame:
    """The answers of the model in `folder` to n rows of `frame`, as described above. Raises InputError naming the row."""
    from ..surrogates.store import load

    surrogate, card = load(folder)
    return _answer(surrogate, card, frame)


def questions_of(frame: pd.DataFrame, shape: str) -> Any:
    """The questions in a DataFrame, for a model that takes `shape`. Raises InputError or FormatError naming the row."""
    if shape == "features":
        return FeatureQuestions(frame.reset_index(drop=True))
    if shape != "graph":
        raise InputError(f"pyfunc: answers whole workloads and plain feature tables, this model takes {shape!r} questions; use silicast predict")
    missing = [c for c in ("workload_json", "hardware") if c not in frame.columns]
    if missing:
        raise InputError(f"pyfunc: missing column {', '.join(missing)}; expected workload_json and hardware, got {', '.join(map(str, frame.columns))}")
    from ..datasets.measurement import Query

    queries = []
    workloads: dict[str, Any] = {}
    machines: dict[str, Any] = {}
    for row, (text, machine) in enumerate(zip(frame["workload_json"], frame["hardware"], strict=True)):
        try:
            if text not in workloads:
                workloads[text] = _workload(text)
            if machine not in machines:
                machines[machine] = _machine(machine)
        except SilicastError as error:
            raise InputError(f"row {row}: {error}") from error
        queries.append(Query(workloads[text], machines[machine]))
    return GraphQuestions.of(queries)


def example(shape: str) -> pd.DataFrame | None:
    """One row to try a model with: a matrix product on a catalogue device; None for a model whose columns are its own."""
    if shape != "graph":
        return None
    from ..datasets.catalog import keys
    from ..datasets.ops import Op
    from ..datasets.workload import WorkloadBuilder

    build = WorkloadBuilder("one_gemm")
    build.add(Op.of("fc", "gemm", m=64, n=256, k=256, params=256 * 256), [build.input("x", 64 * 256)])
    known = list(keys())
    return pd.DataFrame({"workload_json": [json.dumps(build.build().to_json())], "hardware": ["h100_sxm" if "h100_sxm" in known else known[0]]})


def signature(card: Any) -> Any:
    """The MLflow signature of a model with this card."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    inputs = Schema([ColSpec("string", "workload_json"), ColSpec("string", "hardware")]) if card.shape == "graph" else None
    columns = [ColSpec("double", f"{t}{end}") for t in card.targets for end in ("", "_low", "_high")]
    return ModelSignature(inputs=inputs, outputs=Schema([*columns, ColSpec("string", "domain"), ColSpec("string", "domain_reason"), ColSpec("boolean", "calibrated")]))


def python_model() -> Any:
    """The MLflow model object; made in a function because its base class needs MLflow."""
    from mlflow.pyfunc import PythonModel

    class SilicastModel(PythonModel):
        """Loads the model folder once, answers DataFrames."""

        def load_context(self, context: Any) -> None:
            from ..surrogates.store import load

            self.surrogate, self.card = load(context.artifacts[ARTIFACT])

        def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
            return _answer(self.surrogate, self.card, model_input)

    return SilicastModel()


def _answer(surrogate: Any, card: Any, frame: pd.DataFrame) -> pd.DataFrame:
    questions = questions_of(frame, card.shape)
    prediction = surrogate.predict(questions)
    if card.domain:
        from ..features import domain

        prediction = prediction.with_domain(domain.check(card.domain, questions))
    out: pd.DataFrame = prediction.frame()
    return out


def _workload(text: Any) -> Any:
    from ..datasets.workload import Workload

    return Workload.from_json(_document(text, "workload_json"))


def _machine(text: Any) -> Any:
    from ..datasets.catalog import SUFFIXES, hardware
    from ..datasets.hardware import Hardware

    if isinstance(text, str) and text.lstrip().startswith("{"):
        return Hardware.from_json(_document(text, "hardware"))
    if not isinstance(text, str) or text.lower().endswith(SUFFIXES):  # a path would read files of the machine that serves
        raise FormatError(f"hardware: expected a catalogue key or a hardware document in JSON, got {text!r}")
    return hardware(text)


def _document(text: Any, column: str) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"{column}: not a JSON document ({error})") from None
