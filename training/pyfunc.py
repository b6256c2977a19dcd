"""A registered model as MLflow's own tools see it: `mlflow.pyfunc.load_model("models:/NAME@champion").predict(frame)`.

In: a DataFrame with the columns `workload_json` (a workload document) and `hardware` (a catalogue key, or a hardware document in
JSON); for a model of a plain feature table or of single operators, the columns of the table it was fitted to. Out: `T`, `T_low`, `T_high` per target in SI,
then `domain`, `domain_reason` and `calibrated`. It is the slow, convenient way; serving has the fast one.

What is registered is the model folder and a script of three lines (`SCRIPT`), never a pickle: the code is silicast's own, installed
where the model is loaded.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..datasets import cells
from ..datasets.assigned import assigned
from ..datasets.errors import FormatError, InputError, SilicastError
from ..datasets.measured import worded
from ..datasets.table import FeatureQuestions, GraphQuestions
from ..surrogates.card import ModelCard

#: the code that lies beside a registered model folder
SCRIPT = '''"""The MLflow entry of a silicast model folder; the code is the installed silicast."""
from mlflow.models import set_model

from silicast.training.pyfunc import python_model

set_model(python_model())
'''
#: the name under which the model folder is an artifact of the MLflow model
ARTIFACT = "model"
#: kind of a NumPy dtype -> MLflow's name of it
_TYPES = {"f": "double", "i": "long"}


def answer_frame(folder: str | Path, frame: pd.DataFrame) -> pd.DataFrame:
    """The answers of the model in `folder` to n rows of `frame`, as described above. Raises InputError naming the row."""
    from ..surrogates.store import load

    surrogate, card = load(folder)
    return _answer(surrogate, card, frame)


def questions_of(frame: pd.DataFrame, shape: str, schema: Mapping[str, Any] | None = None, words: Collection[str] = ()) -> Any:
    """The questions in a DataFrame, for a model that takes `shape`; `schema`, from its card, says what the columns of operators mean, `words` which of a plain table it learned as words
    (an empty cell is one, as in the tables that `silicast predict` reads). Raises InputError or FormatError naming the row."""
    if shape == "features":
        return FeatureQuestions(_plain(frame.reset_index(drop=True), str((schema or {}).get("hardware") or ""), words))
    if shape == "op" and schema:
        from ..datasets.measured import read_measured

        return read_measured(frame.reset_index(drop=True), schema, need_targets=False).questions
    if shape != "graph":
        raise InputError(f"pyfunc: this model takes {shape!r} questions and its card has no schema that says what columns mean; use silicast predict --schema")
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


def _plain(frame: pd.DataFrame, hardware: str, words: Collection[str]) -> pd.DataFrame:
    """A plain table's questions: words as words, machines by the names they were learned by."""
    if hardware in frame.columns and hardware in words:
        lost = frame[hardware].isna()
        if lost.any():
            raise InputError(f"row {int(lost.argmax())}: {hardware} is missing: an answer is for a machine")
        frame = assigned(frame, {hardware: cells.machine_names(frame[hardware])})
    return worded(frame, [name for name in words if name != hardware])


def build(out: Path, folder: Path, card: ModelCard) -> None:
    """Writes the MLflow model of the model in `folder` to `out`: the folder, the script, what must be installed, signature and an example."""
    with tempfile.TemporaryDirectory(prefix="silicast-script-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice on type hints and integer columns, from its import on; none concerns this model
        import mlflow.pyfunc

        script = Path(scratch) / "silicast_model.py"
        script.write_text(SCRIPT, encoding="utf-8")
        mlflow.pyfunc.save_model(str(out), python_model=str(script), artifacts={ARTIFACT: str(folder.absolute())}, signature=signature(card), input_example=example(card),
                                 pip_requirements=requirements(folder, card))


def requirements(folder: Path, card: ModelCard) -> list[str]:
    """What an environment that loads the model must install: the silicast that made it, with the extra its weights need."""
    extra = "[gnn]" if any(folder.glob("*.safetensors")) else ""
    return [f"silicast{extra}=={card.silicast_version}" if card.silicast_version else f"silicast{extra}"]


def example(card: ModelCard) -> pd.DataFrame | None:
    """One row to try a model with: a matrix product on a catalogue device; the middle of each range and the first of each category of a plain table; a small operator. None where the card
    does not say enough."""
    if card.shape == "graph":
        from ..datasets.catalog import keys
        from ..datasets.ops import Op
        from ..datasets.workload import WorkloadBuilder

        build = WorkloadBuilder("one_gemm")
        build.add(Op.of("fc", "gemm", m=64, n=256, k=256, params=256 * 256), [build.input("x", 64 * 256)])
        known = list(keys())
        return pd.DataFrame({"workload_json": [json.dumps(build.build().to_json())], "hardware": ["h100_sxm" if "h100_sxm" in known else known[0]]})
    if card.shape == "features":
        ranges, categories = card.domain.get("ranges", {}), card.domain.get("categories", {})
        row: dict[str, Any] = {name: float(round((low + high) / 2)) if low % 1 == high % 1 == 0 else (low + high) / 2
                               for name, low, high in zip(ranges.get("names", ()), ranges.get("low", ()), ranges.get("high", ()), strict=True)}
        row |= {name: str(of[0]) for name, of in categories.items() if of}
        return pd.DataFrame([row]) if row else None
    return _operator(card)


def _operator(card: ModelCard) -> pd.DataFrame | None:
    """An operator with every size 64, on a machine and in circumstances the model has seen. None for tables whose operators differ by row, or that spread sizes over columns."""
    schema, domain = dict(card.schema), card.domain
    if not isinstance(schema.get("op"), str) or not domain.get("devices") or not schema.get("hardware"):
        return None
    row: dict[str, Any] = {}
    for name, column in dict(schema.get("columns", {})).items():
        if not isinstance(column, str):
            return None
        row[column] = str(domain.get("dtypes", ["float16"])[0]) if name == "dtype" else 64
    row[str(schema["hardware"])] = str(domain["devices"][0])
    row |= {str(name): str(of[0]) for name, of in domain.get("context", {}).items() if of and name in schema.get("context", ())}
    return pd.DataFrame([row])


def signature(card: ModelCard) -> Any:
    """The MLflow signature of a model with this card: its columns as in `example`, where the card says them."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    tried = example(card)
    may_lack = card.domain.get("missing", ())
    inputs = None if tried is None else Schema([ColSpec(_TYPES.get(tried[name].dtype.kind, "string"), str(name), required=name not in may_lack) for name in tried])
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
    questions = questions_of(frame, card.shape, card.schema, card.domain.get("categories", ()))
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
