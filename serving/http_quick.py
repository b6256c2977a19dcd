"""Questions about single operators over HTTP on their shortest way: a model's student answers (`quick.py`), on the event loop, without a document class.

Whatever is not plainly such a question goes the long way, which says what is wrong with it; so the two cannot differ in what they refuse.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..datasets.errors import InputError
from . import http_columns
from .http_answers import Answered
from .http_route import Asked, Told, encode

_KNOWN = frozenset({"model", "op", "hardware", "context"})
_SIZES = frozenset({"m", "n", "k", "b"})
#: a size that a float holds exactly
_MOST = 2**53
#: longest question that is looked at here, and replies whose text is kept
MOST_BYTES, _MOST_FRAMES = 2000, 10_000
#: how a figure is written: the student computes in single precision, seven digits
_FIGURE = "%.12g"
_ENDLESS = float("inf")
_NOTHING: dict[str, str] = {}
#: reads a document without the regular expressions for blanks around it, which take longer than the document
_READ: Any = json.scanner.make_scanner(json.JSONDecoder())  # type: ignore[attr-defined]


class Frame(NamedTuple):
    """A reply's text but for its id and figures, kept with the student; `bare`: without intervals. `counts`: the figures under `/metrics` it adds one to."""

    text: bytes
    bare: bool
    counts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def single(desk: Any, asked: Asked) -> Told | None:
    """The reply to a question about one product of matrices on a machine of the catalogue; None for any other."""
    found = at_once(desk, asked.body)
    return Told(found[0], noted=found[1]) if found is not None else None


class Question(NamedTuple):
    """One product of matrices on a machine of the catalogue, which a student is going to answer: `asked` is it as `Quick.few` takes it."""

    quick: Any
    asked: Any
    op: Mapping[str, Any]
    machine: str
    dtype: str
    context: Mapping[str, str]


def question(desk: Any, body: bytes) -> Question | None:
    """The question in a body; None where it is not plainly one for a student, or cannot be read: the long way says what it is."""
    if len(body) > MOST_BYTES:
        return None
    try:
        text = body.decode("utf-8")
        given, end = _READ(text, 0)
        if (end != len(text) and not text[end:].isspace()) or type(given) is not dict or not given.keys() <= _KNOWN:
            return None
        quick = desk.shelf.get(given.get("model")).predictor.quick
        op, machine, context = given["op"], given["hardware"], given.get("context", _NOTHING)
        if (quick is None or not quick.plain or type(machine) is not str or type(op) is not dict or type(context) is not dict or op.get("kind", quick.only_kind) != "gemm"
                or "/" in machine or "\\" in machine):
            return None
        sizes, dtype = {}, "float16"
        for name, value in op.items():
            if name in _SIZES and type(value) is int and 0 < value < _MOST:
                sizes[name] = value
            elif name == "dtype" and type(value) is str:
                dtype = value
            elif name != "kind":
                return None
        for value in context.values():
            if type(value) is not str:
                return None
        asked = quick.asked(sizes, machine, dtype, context)
        return Question(quick, asked, op, machine, dtype, context) if asked is not None else None
    except Exception:
        return None


def replies(desk: Any, questions: Sequence[Question]) -> list[tuple[bytes, dict[str, Any]] | None]:
    """(a reply's body, what the log notes of it) for each question, those of one model answered together; None where a figure is none: the long way says so."""
    out: list[tuple[bytes, dict[str, Any]] | None] = [None] * len(questions)
    counts: dict[Any, int] = {}
    for quick in {id(one.quick): one.quick for one in questions}.values():
        at = [i for i, one in enumerate(questions) if one.quick is quick]
        try:
            answers = quick.few([questions[i].asked for i in at])
        except Exception:
            continue
        desk.metrics.observe("silicast_batch_rows", len(at))
        noted = {"model": quick.name, "version": quick.version, "rows": 1}
        for i, answer in zip(at, answers, strict=True):
            one, domain, point = questions[i], answer.domain, answer.point
            key = (one.machine, one.dtype, domain.verdict, *one.context.items())
            frame = quick.frames.get(key) or _frame(quick, key, quick.key_of(one.machine, one.dtype, one.context), domain)
            figures = point if frame.bare else (point[0], answer.low[0], answer.high[0]) if len(point) == 1 else [x for each in zip(point, answer.low, answer.high, strict=True) for x in each]
            if not sum(figures) < _ENDLESS:
                continue
            told = frame.text % (new_id(), *figures)
            for name in frame.counts:
                counts[name] = counts.get(name, 0) + 1
            if desk.drift is not None:
                desk.record(json.loads(told)["predictions"], [{**one.op, **one.context, "hardware": one.machine}])
            out[i] = told, noted
    desk.metrics.count_many(counts)
    return out


def at_once(desk: Any, body: bytes) -> tuple[bytes, dict[str, Any]] | None:
    """(the reply's body, what the log notes of it) where the student answers; None for any other question, and for what cannot be read."""
    one = question(desk, body)
    return replies(desk, [one])[0] if one is not None else None


class _Ids:
    """Random names of 16 digits; the system is asked for many at once, since each asking costs as much as a tenth of an answer."""

    def __init__(self) -> None:
        self._ready: list[bytes] = []

    def __call__(self) -> bytes:
        ready = self._ready
        if not ready:
            drawn = os.urandom(2048).hex().encode("ascii")
            ready.extend(drawn[i:i + 16] for i in range(0, len(drawn), 16))
        return ready.pop()


new_id = _Ids()


def _frame(quick: Any, key: Any, machine: str, domain: Any) -> Frame:
    """The frame of replies about one machine with one verdict."""
    def said(content: Any) -> str:
        return encode(content).decode("ascii").replace("%", "%%")

    bare = quick.level <= 0
    limits = '"low":null,"high":null' if bare else f'"low":{_FIGURE},"high":{_FIGURE}'
    targets = ",".join(f'{said(t)}:{{"point":{_FIGURE},{limits},"unit":{said(str(quick.card.units.get(t, "")))}}}' for t in quick.student.targets)
    calibrated = not bare and domain.verdict == "in_domain"
    text = (f'{{"workload":"","workload_digest":"","predictions":[{{"id":"%b-0","hardware":{said(machine)},"targets":{{{targets}}},"level":{said(quick.level)},"calibrated":{said(calibrated)},'
            f'"domain":{said({"verdict": domain.verdict, "reason": domain.reason, "novelty": None, "nearest": None})},"model":{said(quick.name)},"version":{said(quick.version)},"speed":"columns"}}]}}')
    labels = (("model", quick.name),)
    if len(quick.frames) > _MOST_FRAMES:
        quick.frames.clear()
    found = quick.frames[key] = Frame(text.encode("ascii"), bare, (("silicast_rows_total", labels), ("silicast_verdicts_total", (*labels, ("verdict", domain.verdict)))))
    return found


def columns(desk: Any, loaded: Any, given: Mapping[str, http_columns.Column], rows: int) -> Answered | None:
    """The answers to n rows by the model's student (and by the model, where the student does not answer); None where it is not asked such questions.

    Raises TableError or UnknownNameError for a column that is missing or unknown."""
    model = loaded.predictor
    quick = model.quick if model.shape == "op" else None
    if quick is None or not rows or not quick.plain:
        return None
    sheet = http_columns.op_sheet(model, given, rows)
    if sheet is None:
        return None
    keep = sheet.keep
    if not keep.any():
        return Answered(model, None, keep, sheet.faults)
    whole = bool(keep.all())
    sizes = {name: values if whole else values[keep] for name, values in sheet.sizes.items()}
    texts = {name: one if whole else one.take(keep) for name, one in sheet.told.items()}
    try:
        told = quick.coded("gemm", sizes, texts)
    except (ArithmeticError, ValueError, RuntimeWarning) as error:  # sizes no machine has: 10^18 x 10^18
        raise InputError(f"question: its sizes cannot be computed with ({type(error).__name__}: {error})") from None
    desk.metrics.observe("silicast_batch_rows", len(told))
    labels = (("model", model.name),)
    desk.metrics.add("silicast_rows_total", len(told), labels)
    for code, count in enumerate(np.bincount(told.codes, minlength=len(told.verdicts)).tolist()):
        if count:
            desk.metrics.add("silicast_verdicts_total", count, (*labels, ("verdict", told.verdicts[code].verdict)))
    return Answered(model, told, keep, sheet.faults)
