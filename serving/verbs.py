"""What each verb of the command line does: arguments in, a `Reply` out. `cli.py` only names the arguments.

Every heavy import stands inside the verb that needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..datasets.errors import FormatError, InputError
from . import show
from .arguments import machines, model_folder, names, predictor, predictor_of, read_workload, store_exists
from .reply import Reply, say


def simulate(file: Path, on: Sequence[str], dims: Sequence[str], unknown_ops: str, dtype: str | None, ops: bool, objective: str = "latency",
             clock_mhz: float | None = None, power_limit_w: float | None = None, phase: str | None = None) -> Reply:
    """The reference simulator's answer for a workload file on devices, at another clock or power limit if asked."""
    from ..datasets.measurement import target
    from ..datasets.simulator import SIMULATOR_VERSION, simulate_many

    devices = machines(on)
    workload = read_workload(file, dims, unknown_ops, dtype, phase)
    if clock_mhz is not None or power_limit_w is not None:
        devices = [device.at(clock_hz=None if clock_mhz is None else clock_mhz * 1e6, power_limit_w=power_limit_w) for device in devices]
    answers = simulate_many(workload, devices, objective)
    told = []
    for answer in answers:
        one: dict[str, Any] = {"hardware": answer.hardware.key, "values": answer.values, "energy_parts_j": answer.energy_parts_j, "infeasible": answer.infeasible,
                               "notes": list(answer.notes)}
        if ops:
            one["ops"] = [{"name": op.name, "kind": op.kind, "latency_s": t, "energy_j": e, "dram_bytes": b, "limit": limit} for op, t, e, b, limit in
                          zip(workload.ops, answer.op_latency_s, answer.op_energy_j, answer.op_dram_bytes, answer.op_limit, strict=True)]
        told.append(one)
    document = {"workload": {"name": workload.name, "digest": workload.digest, "bounded_ops": list(workload.bounded_ops)},
                "model": "simulator", "version": SIMULATOR_VERSION, "units": {t: target(t).unit for t in dict.fromkeys(t for a in answers for t in a.values)}, "answers": told}
    return Reply(document, lambda console: show.simulated(console, document))


def generate(out: Path, count: int, seed: int, workers: int | None, devices: Sequence[str], families: Sequence[str], sampled: int | None,
             per_workload: int | None) -> Reply:
    """A labelled table, sharded and resumable."""
    from ..datasets.generate import generate as make

    optional = {"devices": names(devices) or None, "families": names(families) or None, "sampled": sampled, "per_workload": per_workload, "workers": workers}
    manifest = make(out, count=count, seed=seed, say=say, progress=True, **{k: v for k, v in optional.items() if v is not None})  # type: ignore[arg-type]
    return Reply(manifest, lambda console: show.facts(console, manifest, f"labelled table in {out}"))


def train(experiment: Path) -> Reply:
    """The story of an experiment file: generate, train, judge, register, promote."""
    from ..training.config import Experiment
    from ..training.pipeline import run

    story = run(Experiment.load(experiment), say=say)
    return Reply(story, lambda console: show.story(console, story))


def fit(table: Path, schema: Path, targets: Sequence[str], out: Path, seed: int, level: float, skip_bad_rows: bool) -> Reply:
    """A surrogate from a measured table."""
    from ..training.fitting import fit_table

    if out.exists() and not ((out / "model.json").exists() or (out.is_dir() and not any(out.iterdir()))):
        raise FormatError(f"--out {out}: exists and is not a model folder; choose another")
    card = fit_table(table, schema, tuple(names(targets)), out, seed=seed, level=level, skip_bad_rows=skip_bad_rows, say=say)
    return Reply({"model": str(out), "card": card}, lambda console: show.card(console, card, out))


def predict(asked: Path, on: Sequence[str], model: str | None, schema: Path | None, out: Path | None, dims: Sequence[str], unknown_ops: str,
            dtype: str | None, targets: Sequence[str], fallback: str | None, phase: str | None = None) -> Reply:
    """Answers with intervals and domain flags: a workload file on devices, or every row of a table."""
    from . import sheets

    if out is not None:
        sheets.writable(out, asked)
    if sheets.is_sheet(asked):
        if on or dims or dtype:
            raise InputError(f"{asked}: a table names its own hardware and sizes; --on, --dim and --dtype belong to a workload file")
        return _predict_sheet(asked, predictor(model) if model is not None else predictor_of(asked, schema, names(targets)), schema, out, names(targets), fallback)
    from ..datasets.frontends import READERS

    if asked.suffix.lower() not in READERS:
        raise FormatError(f"{asked}: cannot read a file ending in {asked.suffix!r}; expected a workload ({', '.join(READERS)}) or a table ({', '.join(sheets.SUFFIXES)})")
    if schema is not None:
        raise InputError(f"--schema belongs to a table ({', '.join(sheets.SUFFIXES)}); {asked} is read as a workload file")
    if not on:
        raise InputError(f"predict {asked}: on which device? Give --on KEY[,KEY]; `silicast hardware list` names them")
    devices = machines(on)
    workload = read_workload(asked, dims, unknown_ops, dtype, phase)
    return _predict_workload(workload, devices, predictor(model), out, names(targets), fallback)


def _predict_workload(workload: Any, devices: list[Any], model: Any, out: Path | None, targets: Sequence[str], fallback: str | None) -> Reply:
    from ..datasets.table import GraphQuestions
    from . import sheets
    from .predictor import known_targets, select

    known_targets(model, targets)
    prediction = select(model.predict_many(GraphQuestions.cross(workload, devices), fallback=fallback), targets)
    units = dict(model.card.units)
    rows = [{"hardware": device.key, **prediction.answer(i)} for i, device in enumerate(devices)]
    document: dict[str, Any] = {"workload": {"name": workload.name, "digest": workload.digest}, "model": model.name, "version": model.version,
                                "level": prediction.level, "units": {t: units.get(t, "") for t in prediction.targets}, "predictions": rows}
    if out is not None:
        frame = prediction.frame()
        frame.insert(0, "hardware", [d.key for d in devices])
        document["out"] = str(sheets.write_sheet(frame, out))
    return Reply(document, lambda console: show.predicted(console, document))


def _predict_sheet(table: Path, model: Any, schema: Path | None, out: Path | None, targets: Sequence[str], fallback: str | None) -> Reply:
    from . import circumstances, ready, sheets
    from .predictor import known_targets, select

    known_targets(model, targets)
    asked, kept = sheets.questions(table, schema if schema is not None else ready.schema_of(table, model.card), model)
    questions, notes = circumstances.completed(asked, model.card)
    prediction = sheets.spread(select(model.predict_table(questions, fallback=fallback), targets), kept)
    frame = prediction.frame()
    units = dict(model.card.units)
    flags = {str(k): int(v) for k, v in frame["domain"].value_counts().items()}
    document: dict[str, Any] = {"table": str(table), "rows": len(frame), "model": model.name, "version": model.version, "level": prediction.level,
                                "units": {t: units.get(t, "") for t in prediction.targets}, "domain": flags, "notes": notes}
    if out is None:
        document["predictions"] = [{"row": i + 1, **prediction.answer(i)} for i in range(len(prediction))]
    else:
        document["out"] = str(sheets.write_sheet(frame, out))
    return Reply(document, lambda console: show.predicted_sheet(console, document))


def evaluate(model: str, table: Path, schema: Path | None, skip_bad_rows: bool) -> Reply:
    """A model's errors on a measured table, by slice, and how many of its rows lie outside the domain."""
    from ..training.fitting import evaluate_table

    found = evaluate_table(model_folder(model), table, schema=schema, skip_bad_rows=skip_bad_rows)
    document = {"model": model, "table": str(table), **found.to_json()}
    return Reply(document, lambda console: show.evaluated(console, found, f"{model} on {table}"))


def calibrate(model: str, table: Path, schema: Path | None, out: Path | None, shots: int | None, suggest: int | None, seed: int, skip_bad_rows: bool) -> Reply:
    """A model corrected by few measurements, or the rows of a table that are worth measuring first."""
    from ..training import calibrating

    if suggest is not None:
        from . import sheets

        if out is not None:
            sheets.writable(out, table)
        rows = calibrating.suggest(model_folder(model), table, suggest, schema=schema, seed=seed)
        document: dict[str, Any] = {"table": str(table), "measure": rows.to_dict("records")}
        if out is not None:
            document["out"] = str(sheets.write_sheet(rows, out))
        return Reply(document, lambda console: console.print(f"measure these {len(rows)} rows of {table}, the most telling first:\n{rows.to_string(index=False)}", highlight=False))
    if out is None:
        raise InputError("calibrate: where to? Give --out DIR for the corrected model (or --suggest N to learn which rows to measure)")
    if out.exists() and not ((out / "model.json").exists() or (out.is_dir() and not any(out.iterdir()))):
        raise FormatError(f"--out {out}: exists and is not a model folder; choose another")
    done = calibrating.calibrate_table(model_folder(model), table, out, schema=schema, shots=shots, seed=seed, skip_bad_rows=skip_bad_rows, say=say)
    return Reply({"out": str(out), **done.to_json()}, lambda console: console.print(done.text(str(out)), highlight=False))


def models_list() -> Reply:
    """Every registered model, and those that came with silicast."""
    from . import ready_cli

    try:
        store_exists()
    except InputError as error:
        return ready_cli.listed(None, str(error))
    from ..training import registry

    return ready_cli.listed(registry.list_models())


def models_show(name: str) -> Reply:
    """One registered model and the card of its champion (or of its newest version); or a ready-made one and its card."""
    if name.startswith("ready:"):
        from . import ready_cli

        return ready_cli.shown(name)
    from ..training import registry

    store_exists()
    model = registry.show(name)
    number = model.champion or (model.versions[0].version if model.versions else None)
    card = registry.card_of(f"models:/{name}/{number}") if number else None
    return Reply({"model": model, "version": number, "card": card}, lambda console: show.model(console, model, number, card))


def models_promote(name: str, version: str, force: bool) -> Reply:
    """Moves @champion to a version, if the gate lets it."""
    from ..training import registry

    store_exists()
    done = registry.promote(name, version, force=force)
    return Reply(done, lambda console: show.promoted(console, done))


def models_rollback(name: str) -> Reply:
    """Makes the champion before champion again."""
    from ..training import registry

    store_exists()
    done = registry.rollback(name)
    return Reply(done, lambda console: show.promoted(console, done))


def demo(out: Path, onnx: Path | None, count: int, seed: int, quick: bool) -> Reply:
    """The main job on embedded defaults."""
    from .demo import run_demo

    result = run_demo(out, onnx, count, seed, say, quick)
    return Reply(result if result is not None else {"out": str(out)}, lambda console: show.facts(console, result, f"demo in {out}"))


def serve(models: Sequence[str], host: str, port: int, workers: int, token_file: Path | None, drift: Path | None, body_bytes: int, upload_bytes: int, in_flight: int,
          timeout_s: float, poll_s: float, log: str) -> Reply:
    """Answers over HTTP until stopped. The models are loaded before the port is opened: a wrong one is an error here, not a 503 later."""
    try:
        import uvicorn  # noqa: F401  told here that it is not there, and not after the models are loaded

        from . import http
        from .http_limits import Limits, read_tokens
    except ImportError as error:
        raise InputError(f"serve needs a web server, and {error.name} is not installed; run: pip install 'silicast[serve]'") from None
    from .predictor import DEFAULT_MODEL

    limits = Limits(body_bytes=body_bytes, upload_bytes=upload_bytes, in_flight=in_flight, answer_s=timeout_s, bulk_s=4 * timeout_s)
    settings = http.Settings(tuple(models) or (DEFAULT_MODEL,), limits, None if token_file is None else str(token_file), None if drift is None else str(drift), poll_s, log)
    read_tokens(token_file)
    predictors = [predictor(model) for model in models] or [predictor(None)]
    http.run(settings, predictors, host, port, workers)
    return Reply({"served": f"{host}:{port}"}, lambda console: None)
