"""`/v1`: one prediction, the simulator, the catalogue, the models, uploads, measured truth. Every handler takes the desk and what was asked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..datasets.errors import FormatError, InputError, SilicastError, TableError, UnknownNameError
from . import http_documents as documents
from . import http_quick
from .http_columns import machine
from .http_route import JSON, Asked, Refusal, Route, Told, document, guarded, json_told, read
from .predictor import known_targets
from .reply import plain

ONNX = "application/octet-stream"
#: truths in one request
_MOST_TRUTHS = 100_000


async def predict(desk: Any, asked: Asked) -> Told:
    """Latency, energy, power and memory of a workload (or what else the model answers) on machines, with intervals and domain verdicts."""
    short = http_quick.single(desk, asked)
    if short is not None:
        return short
    given = read(documents.PredictRequest, asked)
    loaded = desk.shelf.get(given.model)
    model = loaded.predictor
    known_targets(model, given.targets)
    question = one_question(model, given)
    workload = desk.workload(question["workload"]) if "workload" in question else None
    if workload is not None:
        question["workload"] = workload
    names: list[str] = []
    rows = [question]
    if model.shape != "features":
        if given.hardware is None:
            raise InputError("hardware: expected a catalogue key, an alias or a hardware document, or a list of these")
        wanted = given.hardware if isinstance(given.hardware, list) else [given.hardware]
        machines = [named_machine(model, one, f"hardware[{i}]" if isinstance(given.hardware, list) else "hardware") for i, one in enumerate(wanted)]
        names = [one if isinstance(one, str) else one.key for one in machines]
        rows = [{**question, "hardware": one} for one in machines]
    answers = await desk.one_by_one(loaded, rows, given.fallback)
    for one in answers:
        if isinstance(one, InputError):
            raise one
    told = [{"id": i, "hardware": name, **picked(one, given.targets)} for i, name, one in zip(desk.ids(len(rows)), names or [""], answers, strict=True)]
    desk.record(told, rows)
    return json_told({"workload": workload.name if workload is not None else "", "workload_digest": workload.digest if workload is not None else "", "predictions": told},
                     model=model.name, version=loaded.version, rows=len(told))


def picked(answer: dict[str, Any], targets: Sequence[str] | None) -> dict[str, Any]:
    """The answer with these targets only, in that order."""
    return {**answer, "targets": {name: answer["targets"][name] for name in targets}} if targets else answer


def one_question(model: Any, given: documents.PredictRequest | documents.Item) -> dict[str, Any]:
    """Column -> value of one question without its machine, in the shape the model takes. Raises InputError naming the field that is wrong."""
    field = {"graph": "workload", "op": "op", "features": "features"}[model.shape]
    for name in ("workload", "op", "features"):
        value = getattr(given, name)
        if name == field and value is None:
            raise InputError(f"{name}: is missing; model {model.name} answers {'whole workloads' if name == 'workload' else 'single operators' if name == 'op' else 'rows of a feature table'}")
        if name != field and value is not None:
            raise InputError(f"{name}: model {model.name} takes {field} instead")
    if field == "workload":
        return {"workload": given.workload}
    values: dict[str, Any] = dict(given.op if field == "op" else given.features) | dict(given.context)  # type: ignore[arg-type]
    for name, value in values.items():
        if not isinstance(value, (int, float, str)) and value is not None:
            raise FormatError(f"{field}.{name[:80]}: expected a number or a text, got {type(value).__name__}")
    if field == "features" and given.hardware is not None:
        raise InputError(f"hardware: model {model.name} takes none beside its features")
    if "hardware" in values:
        raise InputError("hardware: stands beside the operator, not in it")
    return values


def named_machine(model: Any, given: Any, where: str) -> Any:
    """A machine, or its name where only the model knows it (by its rows)."""
    if isinstance(given, str) and model.shape == "op" and given in model.card.domain.get("devices", ()):
        try:
            return machine(given)
        except InputError:
            return given
    return guarded(where, machine, given)


async def simulate(desk: Any, asked: Asked) -> Told:
    """The reference simulator's answer on machines."""
    given = read(documents.SimulateRequest, asked)
    workload = desk.workload(given.workload)
    wanted = given.hardware if isinstance(given.hardware, list) else [given.hardware]
    machines = [guarded(f"hardware[{i}]" if isinstance(given.hardware, list) else "hardware", machine, one) for i, one in enumerate(wanted)]
    if given.clock_hz is not None or given.power_limit_w is not None:
        machines = [guarded("hardware", lambda m: m.at(clock_hz=given.clock_hz, power_limit_w=given.power_limit_w), one) for one in machines]
    return json_told(await desk.heavy(lambda: _simulated(workload, machines, given)), model="simulator", rows=len(machines))


def _simulated(workload: Any, machines: list[Any], given: documents.SimulateRequest) -> dict[str, Any]:
    import numpy as np

    from ..datasets.measurement import target
    from ..datasets.simulator import SIMULATOR_VERSION, simulate_many

    def answers() -> list[Any]:
        with np.errstate(all="ignore"):
            return list(simulate_many(workload, machines, given.objective))

    try:
        found = answers()
    except (ArithmeticError, ValueError, RuntimeWarning) as error:
        raise InputError(f"workload: its sizes cannot be computed with ({type(error).__name__}: {error})") from None
    told = []
    for one in found:
        row = {"hardware": one.hardware.key, "values": one.values, "energy_parts_j": one.energy_parts_j, "infeasible": one.infeasible, "notes": list(one.notes)}
        if given.ops:
            row["ops"] = [{"name": op.name, "kind": op.kind, "latency_s": t, "energy_j": e, "dram_bytes": b, "limit": limit} for op, t, e, b, limit in
                          zip(workload.ops, one.op_latency_s, one.op_energy_j, one.op_dram_bytes, one.op_limit, strict=True)]
        told.append(row)
    units = {t: target(t).unit for t in dict.fromkeys(t for one in found for t in one.values)}
    return dict(plain({"workload": workload.name, "workload_digest": workload.digest, "model": "simulator", "version": SIMULATOR_VERSION, "units": units, "answers": told}))


async def hardware_list(desk: Any, asked: Asked) -> Told:
    """Every device of the catalogue."""
    from .machines import hardware_list as listed

    found = await desk.heavy(lambda: plain(listed().document))
    return json_told(found)


async def hardware_one(desk: Any, asked: Asked) -> Told:
    """One machine by key or alias, with the source of every figure."""
    try:
        found = machine(asked.path["key"])
    except (UnknownNameError, FormatError) as error:
        raise Refusal(404, str(error)) from None
    return json_told(plain({**found.to_json(), "digest": found.digest}))


async def models(desk: Any, asked: Asked) -> Told:
    """The models loaded."""
    return json_told({"models": [{"name": one.name, "version": one.version, "source": one.predictor.source if one.predictor.source.startswith("models:") else "folder",
                                  "shape": one.predictor.shape, "targets": list(one.predictor.targets), "units": {k: str(v) for k, v in one.predictor.card.units.items()},
                                  "level": float(one.predictor.card.level)} for one in desk.shelf.all()]})


async def upload(desk: Any, asked: Asked) -> Told:
    """An ONNX file as a workload. It is read from a temporary file and nowhere else; data outside the file is not followed."""
    dims: dict[str, int] = {}
    for name, value in asked.query.items():
        if name.startswith("dim."):
            if not value.isdecimal() or len(value) > 18:
                raise InputError(f"{name[:80]}: expected a whole number, got {value[:40]!r}")
            dims[name[4:]] = int(value)
        elif name not in ("document", "unknown_ops", "dtype"):
            raise UnknownNameError("parameter", name[:80], ("document", "unknown_ops", "dtype", "dim.NAME"))
    treatment = asked.query.get("unknown_ops", "error")
    if treatment not in ("error", "bound"):
        raise UnknownNameError("treatment of unknown ops", treatment[:80], ("error", "bound"))
    workload = await desk.heavy(lambda: _read_onnx(asked.body, dims, treatment, asked.query.get("dtype")))
    kept = desk.remember(workload)
    from .inspecting import summary

    return json_told(plain({"digest": kept.digest, "summary": summary(kept), "document": kept.to_json() if asked.query.get("document") in ("1", "true") else None}))


def _read_onnx(body: bytes, dims: dict[str, int], unknown_ops: str, dtype: str | None) -> Any:
    from ..datasets.frontends import read as read_file

    with tempfile.TemporaryDirectory(prefix="silicast-upload-") as folder:  # a folder of its own: no file lies beside it that the model could name
        place = Path(folder) / "upload.onnx"
        try:
            with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
                f.write(body)
        except OSError as error:
            raise Refusal(503, f"upload: no room for a temporary file ({error.strerror}); try again later", {"retry-after": "30"}) from None
        try:
            return read_file(place, dims=dims, unknown_ops=unknown_ops, dtype=dtype)  # type: ignore[arg-type]
        except InputError as error:
            raise InputError(str(error).replace(str(place), "upload")) from None
        except SilicastError:
            raise
        except MemoryError:
            raise
        except Exception as error:  # whatever a protobuf that is none can do to its reader
            raise FormatError(f"upload: not a readable ONNX file ({type(error).__name__}: {str(error).replace(folder, '')[:200]})") from None


def _store(desk: Any) -> Any:
    if desk.drift is None:
        raise Refusal(404, "this server keeps no predictions; start it with --drift FILE")
    return desk.drift


async def truth(desk: Any, asked: Asked) -> Told:
    """Measured truth for past predictions; on disk when the reply goes out."""
    from .drift import Truth

    recorder = _store(desk)
    given = read(documents.TruthRequest, asked)
    if len(given.truths) > _MOST_TRUTHS:
        raise TableError(f"truths: at most {_MOST_TRUTHS:,} at once, got {len(given.truths):,}")
    good, errors = [], []
    for i, one in enumerate(given.truths):
        try:
            item = document(documents.TruthItem, one, f"truths[{i}]")
            good += [Truth(item.id, name, value, item.measured_at_s) for name, value in item.targets.items()]
        except InputError as error:
            errors.append({"index": i, "error": str(error)})

    def keep() -> int:
        recorder.flush()  # an answer of a moment ago may still wait
        return int(recorder.store.measured(good))

    unmatched = await desk.heavy(keep) if good else 0
    return json_told({"accepted": len(good), "unmatched": unmatched, "errors": errors})


async def drift(desk: Any, asked: Asked) -> Told:
    """Coverage and error by slice over time, and whether the interval still covers."""
    from . import drift_report

    recorder = _store(desk)
    by = [name for name in asked.query.get("by", "target,hardware").split(",") if name]
    try:
        days = float(asked.query.get("days", "7"))
        since = float(asked.query.get("since_s", "0"))
    except ValueError:
        raise InputError("days, since_s: expected numbers") from None

    def look() -> dict[str, Any]:
        recorder.flush()
        return drift_report.report(recorder.store.matched(since), by, days * drift_report.DAY_S, recorder.store.counts()["unmatched"]).to_json()

    return json_told(await desk.heavy(look))


_JSON_PREDICT = {JSON: documents.PredictRequest}
ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/predict", predict, documents.PredictResponse, _JSON_PREDICT, (404, 413, 415, 422, 429, 503)),
    Route("POST", "/v1/simulate", simulate, documents.SimulateResponse, {JSON: documents.SimulateRequest}, (413, 415, 422, 429, 503)),
    Route("GET", "/v1/hardware", hardware_list, documents.HardwareList, faults=(429, 503)),
    Route("GET", "/v1/hardware/{key}", hardware_one, documents.HardwareOne, faults=(404, 429)),
    Route("GET", "/v1/models", models, documents.ModelList, faults=(429,)),
    Route("POST", "/v1/workloads", upload, documents.WorkloadResponse, {ONNX: None}, (413, 415, 422, 429, 503),
          (("dim.NAME", "size of a free dimension, such as dim.batch=8"), ("unknown_ops", "error or bound"), ("dtype", "what if it ran in this precision"),
           ("document", "1: the whole workload document as well"))),
    Route("POST", "/v1/truth", truth, documents.TruthResponse, {JSON: documents.TruthRequest}, (404, 413, 415, 422, 429, 503)),
    Route("GET", "/v1/drift", drift, documents.DriftResponse, faults=(404, 422, 429, 503),
          query=(("by", "facets, comma-separated: target, model, version, hardware, kind, family, verdict"), ("days", "length of a window"), ("since_s", "truths measured after this time"))),
)
