"""`/v1/predict/bulk`: many questions in JSON, NDJSON or Arrow IPC. One that cannot be read gets an error of its own; the others are answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..datasets.errors import InputError, TableError, UnknownNameError
from . import http_arrow, http_columns, http_quick
from . import http_documents as documents
from .http_answers import Answered, rows
from .http_route import ARROW, JSON, NDJSON, Asked, Route, Told, document, encode, json_told, parsed_json, read
from .http_v1 import named_machine, one_question
from .predictor import known_targets

#: questions that go to a model at once: between two pieces other work gets its turn
PIECE = 32_768


async def bulk(desk: Any, asked: Asked) -> Told:
    """Many questions at once."""
    if asked.media == ARROW:
        return await _arrow(desk, asked)
    if asked.media == NDJSON:
        return await _lines(desk, asked)
    given = read(documents.BulkRequest, asked)
    if (given.items is None) == (given.columns is None):
        raise InputError("request: expected items or columns, one of the two")
    loaded = desk.shelf.get(given.model)
    known_targets(loaded.predictor, given.targets)
    if given.columns is not None:
        lists = given.columns
        count = max(map(len, lists.values()), default=0)
        _few_enough(desk, count)

        def work() -> dict[str, Any]:
            columns = {name: http_columns.column(name, values) for name, values in lists.items()}
            answered = ask(desk, loaded, columns, count, given.fallback, given.speed).of(given.targets)
            return {**_head(answered), "results": None, "columns": answered.json_columns()}

        return json_told(await desk.heavy(work), model=loaded.name, version=loaded.version, rows=count)
    items = given.items or []
    _few_enough(desk, len(items))
    answered, told = await desk.heavy(lambda: _each(desk, loaded, items, given.targets, given.fallback, given.speed))
    return json_told({**_head(answered), "results": told, "columns": None}, model=loaded.name, version=loaded.version, rows=len(items))


def _few_enough(desk: Any, count: int) -> None:
    if count > desk.limits.rows:
        raise TableError(f"request: {count:,} rows; {desk.limits.rows:,} are the most at once")


def _head(answered: Answered) -> dict[str, Any]:
    return {"model": answered.model.name, "version": answered.model.version, "level": answered.level, "units": answered.units(), "rows": len(answered), "failed": len(answered.faults), "speed": answered.speed}


def ask(desk: Any, loaded: Any, columns: Mapping[str, http_columns.Column], count: int, fallback: str | None, speed: str | None = None) -> Answered:
    """The answers to n rows: by the model's student at once, or by the model piece by piece. A piece whose arithmetic fails is asked again in halves, until the
    row to blame is alone."""
    if fallback is None and speed != "exact":
        quick = http_quick.columns(desk, loaded, columns, count)
        if quick is not None:
            return quick

    def piece(begin: int, end: int) -> list[tuple[int, int, Answered | str]]:
        part = {name: one.take(np.arange(begin, end)) if isinstance(one, http_columns.Coded) else one[begin:end] for name, one in columns.items()}
        try:
            return [(begin, end, desk.ask(loaded, part, end - begin, fallback))]
        except (TableError, UnknownNameError):
            raise  # of a column: true of every row
        except InputError as error:
            if end - begin == 1:
                return [(begin, end, str(error))]
            middle = (begin + end) // 2
            return piece(begin, middle) + piece(middle, end)

    found = [one for begin in range(0, max(count, 1), PIECE) for one in piece(begin, min(begin + PIECE, count))] if count else []
    keep, faults, predictions = np.zeros(count, dtype=bool), {}, []
    for begin, end, one in found:
        if isinstance(one, str):
            faults[begin] = one
            continue
        keep[begin:end] = one.keep
        faults.update({begin + row: why for row, why in one.faults.items()})
        if one.prediction is not None:
            predictions.append(one.prediction)
    return Answered(loaded.predictor, _joined(predictions), keep, faults)


def _joined(parts: Sequence[Any]) -> Any:
    """Predictions one after another; rows the simulator answered stay its own."""
    if len(parts) < 2:
        return parts[0] if parts else None
    from ..surrogates.prediction import Prediction
    from .predictor import SIMULATOR, Mixed

    first = next((p for p in parts if p.model != SIMULATOR), parts[0])
    point, low, high = (np.concatenate([getattr(p, of) for p in parts]) for of in ("point", "low", "high"))
    joined = Prediction(first.targets, point, low, high, first.level,
                        tuple(d for p in parts for d in p.domain), first.model, first.version)
    stand_in = tuple(s for p in parts for s in (p.stand_in if isinstance(p, Mixed) else (p.model == SIMULATOR,) * len(p)))
    if not any(stand_in) or all(p.model == SIMULATOR for p in parts):
        return joined
    version = next(p.simulator_version if isinstance(p, Mixed) else p.version for p in parts if isinstance(p, Mixed) or p.model == SIMULATOR)
    return Mixed(**vars(joined), stand_in=stand_in, simulator_version=version)


def _each(desk: Any, loaded: Any, items: Sequence[Any], targets: Sequence[str] | None, fallback: str | None, speed: str | None = None) -> tuple[Answered, list[dict[str, Any]]]:
    """(all answers, what each item is told)."""
    model = loaded.predictor
    questions: list[dict[str, Any]] = []
    where: list[int] = []
    faults: dict[int, str] = {}
    for i, item in enumerate(items):
        try:
            if isinstance(item, InputError):
                raise item
            given = document(documents.Item, item, "item")
            question = one_question(model, given)
            if "workload" in question:
                question["workload"] = desk.workload(question["workload"])
            if model.shape != "features":
                if given.hardware is None:
                    raise InputError("hardware: is missing")
                question["hardware"] = named_machine(model, given.hardware, "hardware")
            questions.append(question)
            where.append(i)
        except InputError as error:
            faults[i] = str(error)
    means = frozenset(http_columns.known(model))
    for i, one in zip(where, questions, strict=True):
        strange = next((name for name in one if name not in means), None)
        if strange is not None:
            faults[i] = str(UnknownNameError("column", strange[:80], means))
    pairs = [(one, i) for one, i in zip(questions, where, strict=True) if i not in faults]
    questions, where = [one for one, _ in pairs], [i for _, i in pairs]
    columns, questions, where = _columns(questions, where, faults)
    answered = ask(desk, loaded, columns, len(questions), fallback, speed) if questions else Answered(model, None, np.zeros(0, dtype=bool), {})
    faults |= {where[row]: why for row, why in answered.faults.items()}
    told: list[dict[str, Any]] = [{"error": faults[i]} if i in faults else {} for i in range(len(items))]
    if answered.prediction is not None:
        good = np.flatnonzero(answered.keep).tolist()
        found = rows(answered.prediction, model.card.units, targets)
        kept = []
        for at, name, one in zip(good, desk.ids(len(good)), found, strict=True):
            on = questions[at].get("hardware", "")
            told[where[at]] = {"id": name, "hardware": on if isinstance(on, str) else on.key, **one}
            kept.append(told[where[at]])
        desk.record(kept, [questions[at] for at in good])
    keep = np.ones(len(items), dtype=bool)
    keep[list(faults)] = False
    return Answered(model, answered.prediction, keep, faults).of(targets), told


def _columns(questions: list[dict[str, Any]], where: list[int], faults: dict[int, str]) -> tuple[dict[str, http_columns.Column], list[dict[str, Any]], list[int]]:
    """Questions as columns. A column is of texts or of numbers, as most of its rows say; a row that says otherwise is at fault."""
    names = dict.fromkeys(name for one in questions for name in one)
    for name in names:
        texts = [not isinstance(one[name], (int, float)) for one in questions if one.get(name) is not None]
        worded = sum(texts) * 2 >= len(texts)
        bad = [at for at, one in zip(where, questions, strict=True) if one.get(name) is not None and isinstance(one[name], (int, float)) == worded]
        for at in bad:
            faults[at] = f"{name[:80]}: expected a {'text' if worded else 'number'}"
        gone = set(bad)
        pairs = [(one, at) for one, at in zip(questions, where, strict=True) if at not in gone]
        questions, where = [p[0] for p in pairs], [p[1] for p in pairs]
    return {name: http_columns.column(name, [one.get(name) for one in questions]) for name in names}, questions, where


def _options(desk: Any, asked: Asked) -> tuple[Any, list[str] | None, str | None]:
    """(model, targets, fallback) from the query string, where the body is all questions."""
    for name in asked.query:
        if name not in ("model", "targets", "fallback"):
            raise UnknownNameError("parameter", name[:80], ("model", "targets", "fallback"))
    loaded = desk.shelf.get(asked.query.get("model"))
    targets = [t for t in asked.query["targets"].split(",") if t] if "targets" in asked.query else None
    known_targets(loaded.predictor, targets)
    fallback = asked.query.get("fallback")
    if fallback not in (None, "simulate"):
        raise UnknownNameError("fallback", fallback[:80], ("simulate",))
    return loaded, targets, fallback


async def _lines(desk: Any, asked: Asked) -> Told:
    loaded, targets, fallback = _options(desk, asked)
    lines = [line for line in asked.body.split(b"\n") if line.strip()]
    _few_enough(desk, len(lines))

    def item(line: bytes) -> Any:
        try:
            return parsed_json(line, "line")
        except InputError as error:
            return error

    def work() -> bytes:
        _, told = _each(desk, loaded, [item(line) for line in lines], targets, fallback)
        return b"".join(encode(one) + b"\n" for one in told)

    return Told(await desk.heavy(work), media=NDJSON, noted={"model": loaded.name, "version": loaded.version, "rows": len(lines)})


async def _arrow(desk: Any, asked: Asked) -> Told:
    loaded, targets, fallback = _options(desk, asked)

    def work() -> tuple[bytes, int]:
        columns, count = http_arrow.read_columns(asked.body, desk.limits.rows)
        return http_arrow.write(ask(desk, loaded, columns, count, fallback).of(targets)), count

    body, count = await desk.heavy(work)
    return Told(body, media=ARROW, noted={"model": loaded.name, "version": loaded.version, "rows": count})


ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/predict/bulk", bulk, documents.BulkResponse, {JSON: documents.BulkRequest, NDJSON: None, ARROW: None}, (404, 413, 415, 422, 429, 503),
          (("model", "of NDJSON and Arrow: the model"), ("targets", "of NDJSON and Arrow: comma-separated"), ("fallback", "of NDJSON and Arrow: simulate"))),
)
