"""Questions about single operators over HTTP on their shortest way: a model's student answers (`quick.py`), on the event loop, without a document class.

Whatever is not plainly such a question goes the long way, which says what is wrong with it; so the two cannot differ in what they refuse.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..datasets.errors import InputError
from . import http_columns
from .http_answers import Answered
from .http_route import Asked, Told, encode

_KNOWN = frozenset({"model", "op", "hardware", "context"})
_SIZES = frozenset({"m", "n", "k", "b"})
#: a size that a float holds exactly
_MOST = 2**53


def single(desk: Any, asked: Asked) -> Told | None:
    """The reply to a question about one product of matrices on a machine of the catalogue; None for any other."""
    if len(asked.body) > 2000:
        return None
    try:
        given = json.loads(asked.body)
        if type(given) is not dict or not given.keys() <= _KNOWN:
            return None
        loaded = desk.shelf.get(given.get("model"))
        model = loaded.predictor
        quick = model.quick
        op, machine, context = given["op"], given["hardware"], given.get("context", {})
        if quick is None or type(machine) is not str or type(op) is not dict or type(context) is not dict or op.get("kind", quick.only_kind) != "gemm" or "/" in machine or "\\" in machine:
            return None
        sizes, dtype = {}, "float16"
        for name, value in op.items():
            if name in _SIZES and type(value) is int and 0 < value < _MOST:
                sizes[name] = value
            elif name == "dtype" and type(value) is str:
                dtype = value
            elif name != "kind":
                return None
        if not all(type(value) is str for value in context.values()) or not quick.plain:
            return None
        answer = quick.ready(sizes, machine, dtype, context)
    except Exception:  # the long way says what it is
        return None
    if answer is None:  # the model itself is asked, beside others
        return None
    name = f"{secrets.token_hex(8)}-0"
    frame = _frame(quick, quick.key_of(machine, dtype, context), answer.domain)
    figures = [_number(x) for each in zip(answer.point, answer.low, answer.high, strict=True) for x in each]
    text = frame[0] % (name, *figures) + (frame[1] if answer.calibrated else frame[2])
    labels = (("model", model.name),)
    desk.metrics.add("silicast_rows_total", 1, labels)
    desk.metrics.add("silicast_verdicts_total", 1, (*labels, ("verdict", answer.domain.verdict)))
    if desk.drift is not None:
        desk.record(json.loads(text)["predictions"], [{**op, **context, "hardware": machine}])
    return Told(text.encode("ascii"), noted={"model": model.name, "version": loaded.version, "rows": 1})


def _number(value: float) -> str:
    return repr(float(value)) if abs(value) < float("inf") else "null"


def _frame(quick: Any, machine: str, domain: Any) -> tuple[str, str, str]:
    """The reply's text but for its id and figures (%s), and its end where the interval holds and where it does not; kept with the student."""
    key = (machine, domain)
    found: tuple[str, str, str] | None = quick.frames.get(key)
    if found is None:
        def said(content: Any) -> str:
            return encode(content).decode("ascii")

        units = quick.card.units
        targets = ",".join(f'{said(t)}:{{"point":%s,"low":%s,"high":%s,"unit":{said(str(units.get(t, "")))}}}'.replace("%", "%%").replace("%%s", "%s") for t in quick.student.targets)
        begin = f'{{"workload":"","workload_digest":"","predictions":[{{"id":"%s","hardware":{said(machine).replace("%", "%%")},"targets":{{{targets}}},"level":{said(quick.level)},"calibrated":'
        end = f',"domain":{said({"verdict": domain.verdict, "reason": domain.reason, "novelty": None, "nearest": None})},"model":{said(quick.name)},"version":{said(quick.version)},"speed":"columns"}}]}}'
        if len(quick.frames) > 10_000:
            quick.frames.clear()
        found = quick.frames[key] = (begin, f"true{end}", f"false{end}")
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
