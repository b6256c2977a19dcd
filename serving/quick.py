"""Questions about single operators, answered by a model's student: one at a time in microseconds, or columns of them (`surrogates.student`).

Who may answer what: the student answers where it has learned, inside the sizes, machines, formats and circumstances in the model's card. Everything
else goes to the model itself, and an answer says who spoke (`speed`: `columns` or `exact`). The guard's verdict inside that range is learned too; its
reason is then one sentence, and the model itself tells more when it is asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..datasets.catalog import hardware as catalogued
from ..datasets.columns import OpColumns, element_bytes
from ..datasets.dtypes import DTYPE_CODES, dtype_pair
from ..datasets.errors import InputError, TableError
from ..datasets.hardware import Hardware
from ..datasets.ops import KIND_CODES, OP_KINDS, kind_of
from ..datasets.table import OpQuestions
from ..features import domain as seen
from ..features.verdict import Domain
from ..surrogates.card import ModelCard
from ..surrogates.prediction import Prediction
from ..surrogates.student import Lane, Lanes, Student
from ..surrogates.terms import Sizes, gemm_sizes
from .coded import Coded

IN_DOMAIN = Domain("in_domain")
DOUBTED = Domain("extrapolating", "unlike what the model was trained on, as its student sees it; the model itself says more (speed: exact)")
#: who answered
COLUMNS, EXACT = "columns", "exact"
#: ways to ask remembered; hardware documents must not pile up
_MOST_WAYS = 10_000
_GEMM = frozenset({"m", "n", "k", "b"})


class OpAnswer(NamedTuple):
    """One answer: per target, in SI. `speed`: `columns` where the student spoke, `exact` where the model itself did."""

    targets: tuple[str, ...]
    point: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    level: float
    domain: Domain
    model: str
    version: str
    speed: str

    @property
    def calibrated(self) -> bool:
        """The intervals hold at `level`."""
        return self.level > 0 and self.domain.verdict in ("in_domain", "unchecked") and all(map(math.isfinite, (*self.low, *self.high)))


class _Way(NamedTuple):
    """Everything of a question but its sizes. `lane` is None where the student does not answer."""

    lane: Lane | None
    element: float
    weight_element: float
    said: tuple[int, int, int, str, Hardware | None, dict[str, str]]


@dataclass(frozen=True)
class Columns:
    """n answers for t targets: `point`, `low`, `high` (n, t) in SI. `codes` (n,): which of `verdicts` each row has. `quick` (n,): the student answered.

    `level` is what intervals hold for rows in the domain."""

    targets: tuple[str, ...]
    point: np.ndarray
    low: np.ndarray
    high: np.ndarray
    level: float
    codes: np.ndarray
    verdicts: tuple[Domain, ...]
    quick: np.ndarray
    model: str
    version: str
    #: row -> the guard's own verdict, with its novelty, where the model itself was asked
    exact: Mapping[int, Domain] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.point)

    @property
    def speed(self) -> str:
        """`columns`, `exact`, or `mixed` where each answered some."""
        return COLUMNS if self.quick.all() else "mixed" if self.quick.any() else EXACT

    @property
    def calibrated(self) -> np.ndarray:
        """(n,) bool: the intervals of the row hold at `level`."""
        holds = np.array([self.level > 0 and d.verdict in ("in_domain", "unchecked") for d in self.verdicts], dtype=bool)
        return holds[self.codes] & np.isfinite(self.low).all(1) & np.isfinite(self.high).all(1)

    @property
    def domain(self) -> tuple[Domain, ...]:
        """The verdict of each row, with its novelty where the model itself was asked and its card tells any."""
        told = [self.verdicts[c] for c in self.codes.tolist()]
        for row, domain in self.exact.items():
            told[row] = domain
        return tuple(told)

    def column(self, name: str) -> int:
        """The position of a target; raises InputError naming those there are."""
        if name not in self.targets:
            raise InputError(f"prediction has no target {name!r}; it has: {', '.join(self.targets)}")
        return self.targets.index(name)

    def prediction(self) -> Prediction:
        """The same as a `Prediction`."""
        return Prediction(self.targets, self.point, self.low, self.high, self.level, self.domain, self.model, self.version)


@dataclass
class Quick:
    """The student of a model, and the model for what the student does not answer (`exact`)."""

    student: Student
    card: ModelCard
    name: str
    version: str
    exact: Callable[[OpQuestions], Prediction]
    #: what `http_quick` keeps of its replies
    frames: dict[Any, Any] = field(default_factory=dict, repr=False)
    _ways: dict[Any, _Way] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        ranges = self.card.domain.get("ranges", {"names": (), "low": (), "high": ()})
        self._spans: dict[str, tuple[float, float]] = {}
        for name, low, high in zip(ranges["names"], ranges["low"], ranges["high"], strict=True):
            slack = seen.SLACK * max(high - low, 1e-9)
            self._spans[name] = math.expm1(low - slack), math.expm1(high + slack)
        self._context = tuple(self.card.domain.get("context", {}))
        self._only = {name: str(values[0]) for name, values in self.card.domain.get("context", {}).items() if len(values) == 1}
        anything = (-math.inf, math.inf)
        self._m, self._n, self._k, self._b, self._flops, self._bytes = (self._spans.get(name, anything) for name in ("m", "n", "k", "b", "matrix_flops", "total_bytes"))
        #: a product has no vector work and no rows: were these never zero in training, it is outside whatever its sizes
        self._streams = all(low <= 0.0 <= high for low, high in (self._spans.get(name, anything) for name in ("vector_flops", "row")))
        #: the spans of m, n, k, b, operations and bytes, one after another: nothing is inside where a product is not
        self._box = tuple(x for span in (self._m if self._streams else (math.inf, -math.inf), self._n, self._k, self._b, self._flops, self._bytes) for x in span)
        kinds = self.card.domain.get("op_kinds", ())
        #: the kind that stands where none is told
        self.only_kind = str(kinds[0]) if len(kinds) == 1 else ""
        #: questions have nothing beside sizes and circumstances
        self.plain = not (self.card.schema or {}).get("features")

    @property
    def level(self) -> float:
        """What its intervals hold."""
        return float(self.card.level)

    def one(self, kind: str, sizes: Mapping[str, float], hardware: str | Hardware, dtype: str = "float16", context: Mapping[str, str] | None = None, sure: bool = False) -> OpAnswer:
        """The answer for one operator on one machine. `sizes`: its dimensions (`datasets.ops`). `sure`: where the student is not sure of its verdict, the model answers.

        Raises InputError for what cannot be read."""
        key = (kind, dtype, hardware, *context.items()) if context else (kind, dtype, hardware)
        way = self._ways.get(key)
        if way is None:
            way = self._way(key, kind, dtype, hardware, context or {})
        return (self._fast(way, sizes, self._surely() if sure else 0.0) if kind == "gemm" and _GEMM.issuperset(sizes) else None) or self._slow_one(way, kind, sizes)

    def key_of(self, hardware: str, dtype: str, context: Mapping[str, str]) -> str:
        """What the model's table calls a machine that has been asked about."""
        return self._ways[("gemm", dtype, hardware, *context.items()) if context else ("gemm", dtype, hardware)].said[3]

    def asked(self, sizes: Mapping[str, float], hardware: str | Hardware, dtype: str, context: Mapping[str, str]) -> tuple[Lane, Sizes] | None:
        """One product of matrices as `few` takes it; None where the model itself would have to be asked. Raises as `one` does."""
        key = ("gemm", dtype, hardware, *context.items()) if context else ("gemm", dtype, hardware)
        way = self._ways.get(key) or self._way(key, "gemm", dtype, hardware, context)
        op = self._inside(way, sizes)
        return (way.lane, op) if op is not None and way.lane is not None else None

    def few(self, questions: Sequence[tuple[Lane, Sizes]]) -> list[OpAnswer]:
        """The student's answers to a few questions that came together: what `one` answers to each, in less time."""
        if len(questions) == 1:
            return [self._said(*self.student.one(*questions[0]))]
        lanes, ops = zip(*questions, strict=True)
        return [self._said(*told) for told in self.student.few(lanes, ops)]

    def _surely(self) -> float:
        """How far from zero the student's doubt must be for its verdict to be sure: the model's card says. Raises TableError where it does not."""
        beyond = self.card.metrics.get("student", {}).get("verdict", {}).get("sure_beyond")
        if beyond is None:
            raise TableError(f"the student of model {self.name!r} was not asked where its verdict is sure; compile the model again (`silicast compile`)")
        return float(beyond)

    def _fast(self, way: _Way, sizes: Mapping[str, float], beyond: float = 0.0) -> OpAnswer | None:
        op = self._inside(way, sizes)
        if op is None or way.lane is None:
            return None
        point, half, doubt = self.student.one(way.lane, op)
        return self._said(point, half, doubt) if abs(doubt) > beyond or not beyond else None

    def _inside(self, way: _Way, sizes: Mapping[str, float]) -> Sizes | None:
        """The operator as the student sees it; None where it is not the student's to answer."""
        if way.lane is None:
            return None
        try:
            m, n, k, b = float(sizes["m"]), float(sizes["n"]), float(sizes["k"]), float(sizes.get("b", 1.0))
        except (KeyError, TypeError, ValueError, OverflowError):
            return None  # the long way says what is wrong
        op = gemm_sizes(b, m, n, k, way.element, way.weight_element)
        m_least, m_most, n_least, n_most, k_least, k_most, b_least, b_most, least_flops, most_flops, least_bytes, most_bytes = self._box
        if (m_least <= m <= m_most and n_least <= n <= n_most and k_least <= k <= k_most and b_least <= b <= b_most and least_flops <= op.matrix_flops <= most_flops
                and least_bytes <= op.input_bytes + op.weight_bytes + op.output_bytes <= most_bytes and m.is_integer() and n.is_integer() and k.is_integer() and b.is_integer()):
            return op
        return None

    def _said(self, point: list[float], half: Sequence[float], doubt: float) -> OpAnswer:
        """The answer that the student's figures stand for."""
        domain = DOUBTED if doubt > 0.0 else IN_DOMAIN
        if self.card.level <= 0:  # the model promises no intervals
            half = (math.nan,) * len(point)
        if len(point) == 1:
            (p,), factor = point, math.exp(half[0])
            return OpAnswer(self.student.targets, point, (p / factor,), (p * factor,), self.card.level, domain, self.name, self.version, COLUMNS)
        factors = [math.exp(w) for w in half]
        low, high = ([p / f for p, f in zip(point, factors, strict=True)], [p * f for p, f in zip(point, factors, strict=True)])
        return OpAnswer(self.student.targets, point, low, high, self.card.level, domain, self.name, self.version, COLUMNS)

    def warm(self) -> None:
        """Asks the model itself one question, so that its libraries and tables are there before they are waited for. A question it cannot answer is no fault."""
        domain = self.card.domain
        kinds, devices, context = domain.get("op_kinds", ()), domain.get("devices", ()), domain.get("context", {})
        if kinds and devices and all(context.values()):
            with suppress(InputError, ArithmeticError, ValueError, LookupError):
                said = {name: str(values[0]) for name, values in context.items()}
                way = self._way(("warm",), str(kinds[0]), said.get("dtype_name", "float16"), str(devices[0]), said)
                self._slow_one(way, str(kinds[0]), {dim: 64.0 for dim in OP_KINDS[str(kinds[0])].dims if dim not in OP_KINDS[str(kinds[0])].optional})

    def _way(self, key: Any, kind: str, dtype: str, hardware: str | Hardware, context: Mapping[str, str]) -> _Way:
        code = KIND_CODES[kind_of(kind).name]
        a, w = dtype_pair(dtype)
        name, device = self._machine(hardware)
        said = {c: str(value) for c, value in context.items()}
        for c in self._context:
            if c not in said:
                told = dtype if c == "dtype_name" else self._only.get(c)
                if told is None:
                    raise TableError(f"lacks the circumstance {c}; model {self.name!r} has seen: {', '.join(self.card.domain['context'][c])[:200]}")
                said[c] = told
        for c in said:
            if c not in self._context:
                raise TableError(f"{c}: means nothing to model {self.name!r}; its circumstances are: {', '.join(self._context) or 'none'}")
        asked = (code, DTYPE_CODES[a], DTYPE_CODES[w], name, device, said)
        lane = self.lane(asked)
        sides = element_bytes(np.array([DTYPE_CODES[a], DTYPE_CODES[w]])).tolist()
        way = _Way(lane, sides[0], sides[1], asked)
        if len(self._ways) >= _MOST_WAYS:
            self._ways.clear()
        self._ways[key] = way
        return way

    def _machine(self, given: str | Hardware) -> tuple[str, Hardware | None]:
        if isinstance(given, str) and given in self.card.domain.get("devices", ()):
            try:
                return given, catalogued(given)
            except InputError:
                return given, None
        found = given if isinstance(given, Hardware) else catalogued(given)
        return found.key, found

    def lane(self, asked: tuple[int, int, int, str, Hardware | None, dict[str, str]]) -> Lane | None:
        """The lane of (kind, dtype, weight dtype (codes), machine's name, machine, circumstances), None where the student does not answer: it has not learned such,
        or the model's card calls it unknown whatever the sizes."""
        if not self.student.knows(*asked):
            return None
        kind, dtype, weight, name, device, context = asked
        if not self.student.open_machines:
            if device is not None and not self._same(name, device):
                return None
            domain = self.card.domain
            known = name in domain.get("devices", (name,)) and all(value in domain["context"][c] for c, value in context.items() if c in domain.get("context", {}))
            if not known:
                return None
        return self.student.lane(kind, dtype, weight, name, device, context)

    def _same(self, name: str, device: Hardware) -> bool:
        """Whether a machine is the one of the catalogue that goes by its name: a document may call another by it."""
        try:
            return catalogued(name).digest == device.digest
        except InputError:
            return False

    def _slow_one(self, way: _Way, kind: str, sizes: Mapping[str, float]) -> OpAnswer:
        """The model's own answer. Raises InputError for impossible sizes."""
        _, dtype, weight, name, device, context = way.said
        spec = OP_KINDS[kind_of(kind).name]
        values: dict[str, np.ndarray] = {}
        for dim in sizes:
            if dim not in spec.dims:
                raise TableError(f"{dim}: no dimension of {kind}; its dimensions are: {', '.join(spec.dims)}")
        for dim in spec.dims:
            given = sizes.get(dim, spec.optional.get(dim))
            least, most = spec.span(dim)
            if not isinstance(given, (int, float)) or not least <= given <= most or given != math.floor(given):
                raise TableError(f"{dim} of {kind}: expected a whole number of at least {least}, got {'nothing' if given is None else given!r}")
            values[dim] = np.array([float(given)])
        ops = OpColumns.from_sizes(kind, values, np.array([dtype]), np.array([weight]))
        import pandas as pd

        questions = OpQuestions(ops, (name,), (device,), np.zeros(1, dtype=np.int64), pd.DataFrame({c: [v] for c, v in context.items()}, index=[0]), pd.DataFrame(index=[0]))
        told = self.exact(questions)
        return OpAnswer(told.targets, told.point[0].tolist(), told.low[0].tolist(), told.high[0].tolist(), told.level, told.domain[0], self.name, self.version, EXACT)

    def gemms(self, m: Any, n: Any, k: Any, hardware: Any, dtype: Any = "float16", context: Mapping[str, Any] | None = None, b: Any = 1.0, threads: int = 0,
              sure: bool = False) -> Columns:
        """n products of matrices: sizes are (n,) arrays or one number for all; `hardware`, `dtype` and circumstances one value for all, n of them, or `Coded`.
        `sure`: where the student is not sure of its verdict, the model answers.

        Raises InputError for what cannot be read: sizes that are no whole numbers of at least 1, columns of different lengths.
        """
        sizes = {name: np.asarray(value, dtype=np.float64) for name, value in (("m", m), ("n", n), ("k", k), ("b", b))}
        texts = {"hardware": hardware, "dtype": dtype, **(context or {})}
        given = [len(x) for x in sizes.values() if x.ndim] + [len(x) for x in texts.values() if isinstance(x, (Coded, list, tuple, np.ndarray))]
        count = given[0] if given else 1
        if any(length != count for length in given):
            raise TableError(f"columns of different lengths: {', '.join(map(str, sorted(set(given))))}")
        for name, values in sizes.items():
            if not ((values >= 1.0) & (values <= 2.0**62) & (values == np.floor(values))).all():
                raise TableError(f"{name} of gemm: expected whole numbers of at least 1")
        coded = {name: x if isinstance(x, Coded) else Coded.of(list(x)) if isinstance(x, (list, tuple, np.ndarray)) else Coded.all(x, count) for name, x in texts.items()}
        if any((x.codes < 0).any() for x in coded.values()):
            raise TableError("a column lacks some of its values")
        return self.coded("gemm", {name: np.broadcast_to(x, (count,)) for name, x in sizes.items()}, coded, threads, sure)

    def coded(self, kind: str, sizes: Mapping[str, np.ndarray], texts: Mapping[str, Coded], threads: int = 0, sure: bool = False) -> Columns:
        """n products of (n,) sizes b, m, n, k, whole and positive; `texts`: hardware, dtype and circumstances."""
        beyond = self._surely() if sure else 0.0
        count = len(sizes["m"])
        lane_of, ways = self._ways_of(kind, texts, count)
        lanes: list[Lane] = []
        place = np.full(len(ways), -1, dtype=np.int64)
        for i, way in enumerate(ways):
            if way.lane is not None:
                place[i] = len(lanes)
                lanes.append(way.lane)
        if not lanes:
            return self._all_slow(kind, sizes, lane_of, ways, np.arange(count), None)
        joined = Lanes.of(lanes)
        one_way = len(ways) == 1
        element, weight = (np.array([getattr(w, of) for w in ways]) for of in ("element", "weight_element"))
        index = place[lane_of]
        safe = np.maximum(index, 0)
        b, m, n, k = (sizes[name] for name in ("b", "m", "n", "k"))
        inside = np.empty(count, dtype=bool)

        def part(rows: slice) -> Sizes:
            e, w = (element[0], weight[0]) if one_way else (element[lane_of[rows]], weight[lane_of[rows]])
            op = gemm_sizes(b[rows], m[rows], n[rows], k[rows], e, w)
            moved = op.input_bytes + op.weight_bytes + op.output_bytes
            good = index[rows] >= 0
            for values, (least, most) in ((op.m, self._m), (op.n, self._n), (op.k, self._k), (op.b, self._b), (op.matrix_flops, self._flops), (moved, self._bytes)):
                good &= values >= least
                good &= values <= most
            inside[rows] = good
            return op

        doubt = np.empty(count, dtype=np.float32) if sure else None
        point, half, doubted = self.student.columns(joined, safe, part, threads, doubt)
        if doubt is not None:
            inside &= np.abs(doubt) > beyond
        if not self._streams:
            inside[:] = False
        if self.card.level <= 0:  # the model promises no intervals
            half[:] = np.nan
        np.exp(half, out=half)
        low, high = point / half, np.multiply(point, half, out=half)
        codes = doubted.astype(np.int8)
        quick = Columns(self.student.targets, point, low, high, self.card.level, codes, (IN_DOMAIN, DOUBTED), inside, self.name, self.version)
        outside = np.flatnonzero(~inside)
        return self._all_slow(kind, sizes, lane_of, ways, outside, quick) if len(outside) else quick

    def _ways_of(self, kind: str, texts: Mapping[str, Coded], count: int) -> tuple[np.ndarray, list[_Way]]:
        """((n,) way of each row, the ways)."""
        names = [name for name in texts if name not in ("hardware", "dtype")]
        several = [name for name, x in texts.items() if len(x.values) > 1]
        first, lane_of = np.zeros(1, dtype=np.int64), np.zeros(count, dtype=np.int64)
        if several:
            joined = np.zeros(count, dtype=np.int64)
            most = 1
            for name in several:
                joined *= len(texts[name].values)
                joined += texts[name].codes
                most *= len(texts[name].values)
            if most <= 65_536:  # without sorting
                seen_codes = np.flatnonzero(np.bincount(joined, minlength=most))
                at = np.zeros(most, dtype=np.int64)
                at[seen_codes] = np.arange(len(seen_codes))
                lane_of = at[joined]
                first = np.zeros(len(seen_codes), dtype=np.int64)
                first[lane_of[::-1]] = np.arange(count - 1, -1, -1)
            else:
                _, first, lane_of = np.unique(joined, return_index=True, return_inverse=True)
        ways = []
        for row in first.tolist():
            said = {name: x.values[x.codes[row]] for name, x in texts.items()}
            dtype, machine, context = str(said.get("dtype", "float16")), said["hardware"], {name: said[name] for name in names}
            key = (kind, dtype, machine, *context.items()) if context else (kind, dtype, machine)
            way = self._ways.get(key)
            ways.append(way if way is not None else self._way(key, kind, dtype, machine, context))
        return lane_of, ways

    def _all_slow(self, kind: str, sizes: Mapping[str, np.ndarray], lane_of: np.ndarray, ways: Sequence[_Way], rows: np.ndarray, quick: Columns | None) -> Columns:
        """The rows the student does not answer, by the model, put in their place."""
        import pandas as pd

        used, index = np.unique(lane_of[rows], return_inverse=True)
        said = [ways[i].said for i in used]
        dtype, weight = (np.array([s[j] for s in said], dtype=np.int16)[index] for j in (1, 2))
        ops = OpColumns.from_sizes(kind, {**{name: values[rows] for name, values in sizes.items()}, **{d: np.full(len(rows), float(v)) for d, v in OP_KINDS[kind].optional.items() if d not in sizes}},
                                   dtype, weight)
        context = pd.DataFrame({c: np.array([s[5][c] for s in said], dtype=object)[index] for c in self._context}, index=range(len(rows)))
        told = self.exact(OpQuestions(ops, tuple(s[3] for s in said), tuple(s[4] for s in said), index, context, pd.DataFrame(index=range(len(rows)))))
        verdicts: dict[Domain, int] = {IN_DOMAIN: 0, DOUBTED: 1}
        codes = np.array([verdicts.setdefault(d, len(verdicts)) for d in told.domain], dtype=np.int64)
        if quick is None:
            return Columns(told.targets, told.point, told.low, told.high, told.level, codes, tuple(verdicts), np.zeros(len(rows), dtype=bool), self.name, self.version, dict(enumerate(told.domain)))
        joined = quick.codes.astype(np.int64)
        joined[rows] = codes
        for into, values in ((quick.point, told.point), (quick.low, told.low), (quick.high, told.high)):
            into[rows] = values
        return Columns(quick.targets, quick.point, quick.low, quick.high, quick.level, joined, tuple(verdicts), quick.quick, self.name, self.version, dict(zip(rows.tolist(), told.domain, strict=True)))
