"""What each verb of the command line does: arguments in, a `Reply` out. `cli.py` only names the arguments.

Every heavy import stands inside the verb that needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..datasets.errors import FormatError, InputError, UnknownNameError
from . import show
from .reply import Reply, say


def hardware_list() -> Reply:
    """Every device and cluster of the catalogue."""
    from ..datasets.catalog import hardware, keys
    from ..datasets.catalog.clusters import cluster, cluster_keys

    devices = [hardware(key) for key in keys()]
    clusters = [cluster(key) for key in cluster_keys()]
    document = {"devices": [{"key": d.key, "name": d.name, "kind": d.kind, "vendor": d.vendor, "year": d.year, "tdp_w": d.tdp_w,
                             "memory_bytes": d.dram.capacity_bytes, "bandwidth_bytes_per_s": d.dram_bandwidth, "aliases": d.aliases} for d in devices],
                "clusters": [{"key": c.key, "name": c.name, "year": c.year, "devices": c.devices, "hardware": [m.key for m, _ in c.parts],
                              "levels": [level.name for level in c.levels], "aliases": c.aliases} for c in clusters]}
    return Reply(document, lambda console: show.devices(console, devices, clusters))


def hardware_show(name: str) -> Reply:
    """One device or cluster with the source of every figure."""
    from ..datasets.catalog import hardware, normal
    from ..datasets.catalog.clusters import cluster, cluster_keys

    if normal(name) in map(normal, cluster_keys()):
        found = cluster(name)
        document = {"key": found.key, "name": found.name, "year": found.year, "devices": found.devices, "parts": [{"hardware": m.key, "count": n} for m, n in found.parts],
                    "levels": [asdict(level) for level in found.levels], "aliases": found.aliases, "notes": found.notes, "cited": dict(found.cited)}
        return Reply(document, lambda console: show.cluster(console, found))
    device = hardware(name)
    return Reply({**device.to_json(), "digest": device.digest}, lambda console: show.device(console, device))


def summary(workload: Any) -> dict[str, Any]:
    """What there is to count in a workload; FLOPs count 2 per multiply-add."""
    kinds: dict[str, dict[str, float]] = {}
    for op in workload.ops:
        row = kinds.setdefault(op.kind, {"ops": 0, "flops": 0.0, "bytes_read": 0.0, "bytes_written": 0.0, "params": 0})
        for name, value in (("ops", 1), ("flops", op.flops), ("bytes_read", op.bytes_read), ("bytes_written", op.bytes_written), ("params", op.params)):
            row[name] += value
    dtypes = sorted({op.dtype for op in workload.ops})
    return {"name": workload.name, "family": workload.family, "digest": workload.digest, "ops": len(workload.ops), "flops": workload.flops, "macs": workload.macs,
            "params": workload.params, "weight_bytes": workload.weight_bytes, "peak_activation_bytes": workload.peak_activation_bytes,
            "bytes_read": workload.bytes_read, "bytes_written": workload.bytes_written, "dtypes": dtypes, "by_kind": kinds,
            "bounded_ops": list(workload.bounded_ops), "notes": list(workload.notes)}


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
        return _predict_sheet(asked, predictor(model) if model is not None else _predictor_of(asked, schema, names(targets)), schema, out, names(targets), fallback)
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
    from . import ready, sheets
    from .predictor import known_targets, select

    known_targets(model, targets)
    asked, kept = sheets.questions(table, schema if schema is not None else ready.schema_of(table, model.card), model)
    questions, notes = ready.completed(asked, model.card)
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


def predictor(model: str | None) -> Any:
    """The model asked for; without one the champion of the store here, or else the model of whole networks that came with silicast."""
    from .predictor import DEFAULT_MODEL, Predictor

    if model is None:
        from . import ready

        try:
            store_exists()
            return Predictor.load(DEFAULT_MODEL)
        except InputError as champion:
            try:
                return ready.for_networks()
            except InputError as error:
                raise InputError(f"no model given, and {DEFAULT_MODEL} is not to be had: {champion}; nor is the one that comes with silicast: {error}. Make one with `silicast demo` or "
                                 "`silicast train EXPERIMENT`, or give --model REF-or-DIR") from None
    if model.startswith("models:"):
        store_exists()
    return Predictor.load(model)


def _predictor_of(table: Path, schema: Path | None, targets: Sequence[str]) -> Any:
    """The ready-made model for a table's questions; of networks the champion of the store here, where there is one."""
    from . import ready

    found = ready.for_table(table, schema, targets)
    return predictor(None) if found.shape == "graph" else found


def model_folder(model: str) -> Path:
    """The folder of a model given as one, as `models:/...` or as `ready:NAME`."""
    if model.startswith("ready:"):
        from ..surrogates import ready

        return ready.folder(model)
    if not model.startswith("models:"):
        return Path(model)
    from ..training import registry

    store_exists()
    return registry.resolve(model)


def store_exists() -> None:
    """Raises InputError where the default store is an SQLite file that is not there."""
    from ..training.tracking import default_uri, sqlite_path

    path = sqlite_path(default_uri())
    if path is not None and not path.exists():
        raise InputError(f"there is no model store here (no file {path}); go to the folder that has it, or name it with MLFLOW_TRACKING_URI")


def names(given: Sequence[str]) -> list[str]:
    """`["a,b", "c"]` as a, b, c; empty parts are dropped."""
    return [part.strip() for one in given for part in one.split(",") if part.strip()]


def machines(on: Sequence[str]) -> list[Any]:
    """The devices of `--on`: catalogue keys, aliases and YAML paths, comma-separated or repeated. Each once, in order."""
    from ..datasets.catalog import hardware

    found: list[Any] = []
    for name in [part for one in on for part in ([one] if Path(one).is_file() else names([one]))]:
        device = hardware(name)
        if not any(d.key == device.key and d.digest == device.digest for d in found):
            found.append(device)
    if not found:
        raise InputError("--on: expected at least one device; `silicast hardware list` names them")
    return found


def dimensions(given: Sequence[str]) -> dict[str, int]:
    """`["batch=8"]` as {"batch": 8}. Raises InputError for anything that is not NAME=N with N >= 1."""
    out: dict[str, int] = {}
    for text in given:
        name, equals, size = text.rpartition("=")
        if not equals or not name or not size.isdecimal() or len(size) > 19 or not 0 <= int(size) <= 2**62:
            raise InputError(f"--dim {text[:80]}: expected NAME=N with N a whole number of at least 0, such as --dim batch=8")
        if out.get(name, int(size)) != int(size):
            raise InputError(f"--dim {name}: given twice, as {out[name]} and {size}")
        out[name] = int(size)
    return out


def read_workload(file: Path, dims: Sequence[str], unknown_ops: str, dtype: str | None, phase: str | None = None) -> Any:
    """The workload of a file, with `--dim` and `--unknown-ops` as given; an error names the file."""
    from ..datasets.frontends import read

    if unknown_ops not in ("error", "bound"):
        raise UnknownNameError("treatment of unknown ops", unknown_ops, ("error", "bound"))
    bound = dimensions(dims)
    try:
        return read(file, dims=bound, unknown_ops=unknown_ops, dtype=dtype, phase=phase)  # type: ignore[arg-type]
    except InputError as error:
        if str(file) in str(error):
            raise
        raise InputError(f"{file}: {error}") from None
