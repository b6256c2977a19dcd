"""Counters and histograms in the text format of Prometheus (exposition format 0.0.4), without a library for it."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping

MEDIA = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

#: name -> (type, help); a metric that is not named here does not exist
METRICS: dict[str, tuple[str, str]] = {
    "silicast_requests_total": ("counter", "Requests answered, by path and status."),
    "silicast_request_seconds": ("histogram", "Seconds from the request's first byte to its reply, by path."),
    "silicast_rejected_total": ("counter", "Requests turned away, by reason."),
    "silicast_in_flight": ("gauge", "Requests being answered."),
    "silicast_rows_total": ("counter", "Questions answered, by model."),
    "silicast_verdicts_total": ("counter", "Verdicts of the domain guard, by model."),
    "silicast_batch_rows": ("histogram", "Questions that went to a model together."),
    "silicast_model_info": ("gauge", "1 for each model and version that is loaded."),
    "silicast_reloads_total": ("counter", "Models changed for another version, or refused, by outcome."),
    "silicast_registry_up": ("gauge", "1 while the model registry answers."),
    "silicast_drift_dropped_total": ("counter", "Predictions that were not recorded because the disk was too slow."),
    "process_resident_memory_bytes": ("gauge", "Resident memory of this process."),
}
_BOUNDS = {"silicast_request_seconds": SECONDS, "silicast_batch_rows": ROWS}
Labels = tuple[tuple[str, str], ...]


class Metrics:
    """The figures of one process; safe to count in from any thread."""

    def __init__(self) -> None:
        self._values: dict[str, dict[Labels, float]] = {name: {} for name in METRICS}
        self._shares: dict[str, dict[Labels, list[float]]] = {name: {} for name in _BOUNDS}
        self._lock = threading.Lock()

    def add(self, name: str, by: float = 1.0, labels: Labels = ()) -> None:
        """Counts."""
        with self._lock:
            of = self._values[name]
            of[labels] = of.get(labels, 0.0) + by

    def count_many(self, counts: Mapping[tuple[str, Labels], int]) -> None:
        """Counts several at once, each so often."""
        with self._lock:
            for (name, labels), by in counts.items():
                of = self._values[name]
                of[labels] = of.get(labels, 0.0) + by

    def set(self, name: str, values: Mapping[Labels, float]) -> None:
        """Puts a gauge, all its labels at once."""
        with self._lock:
            self._values[name] = dict(values)

    def observe(self, name: str, value: float, labels: Labels = ()) -> None:
        """One observation of a histogram."""
        self.observe_all(name, (value,), labels)

    def observe_all(self, name: str, values: Iterable[float], labels: Labels = ()) -> None:
        """Observations of a histogram that came together."""
        bounds = _BOUNDS[name]
        with self._lock:
            found = self._shares[name].get(labels)
            if found is None:
                found = self._shares[name][labels] = [0.0] * (len(bounds) + 2)  # per bucket, +Inf, and last the sum
            for value in values:
                found[bisect_left(bounds, value)] += 1
                found[-1] += value

    def text(self) -> str:
        """Everything, as Prometheus reads it."""
        out: list[str] = []
        with self._lock:
            for name, (kind, told) in METRICS.items():
                rows = list(self._histogram(name)) if name in _BOUNDS else [f"{name}{_labels(labels)} {value:.17g}" for labels, value in self._values[name].items()]
                if rows:
                    out += [f"# HELP {name} {told}", f"# TYPE {name} {kind}", *rows]
        return "\n".join(out) + "\n"

    def _histogram(self, name: str) -> Iterable[str]:
        for labels, found in self._shares[name].items():
            seen = 0.0
            for bound, count in zip((*map(str, _BOUNDS[name]), "+Inf"), found[:-1], strict=True):
                seen += count
                yield f"{name}_bucket{_labels((*labels, ('le', bound)))} {seen:.17g}"
            yield f"{name}_sum{_labels(labels)} {found[-1]:.17g}"
            yield f"{name}_count{_labels(labels)} {seen:.17g}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    escaped = ((k, v.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")) for k, v in labels)
    return "{" + ",".join(f'{k}="{v}"' for k, v in escaped) + "}"


def resident_bytes() -> float:
    """Resident memory of this process; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as f:
            import os

            return float(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0.0
