"""The replies of the command line as a person reads them: tables with sensible units, an interval beside each figure, the reason
below each doubt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .quantities import interval, quantity
from .reply import plain, table

#: targets as the head of a column names them
_HEADS = {"latency_s": "latency", "energy_j": "energy", "power_w": "power", "memory_bytes": "memory", "dram_bytes": "DRAM traffic", "ttft_s": "first token",
          "tpot_s": "per token", "throughput_tok_s": "throughput", "interval_cycles": "interval", "area_mm2": "area"}

#: stands before an interval whose level nobody has checked
_UNCALIBRATED = "~"


def _unit(target: str, units: Mapping[str, str] | None = None) -> str:
    from ..datasets.measurement import TARGETS

    if units and units.get(target):
        return units[target]
    return TARGETS[target].unit if target in TARGETS else ""


def devices(console: Any, found: Sequence[Any], clusters: Sequence[Any] = ()) -> None:
    """The catalogue, one line each."""
    out = table("key", "name", "kind", "year", "memory", "bandwidth", "TDP", right=("memory", "bandwidth", "TDP"))
    for d in found:
        out.add_row(d.key, d.name, d.kind, str(d.year or "-"), quantity(d.dram.capacity_bytes, "B"), quantity(d.dram_bandwidth, "B/s"), quantity(d.tdp_w, "W"))
    console.print(out)
    console.print(_clusters(clusters))
    console.print(f"{len(found)} devices, {len(clusters)} clusters; `silicast hardware show KEY` gives figures and sources")


def _clusters(found: Sequence[Any]) -> Any:
    out = table("key", "name", "year", "devices", "of", "network", right=("devices",))
    for c in found:
        out.add_row(c.key, c.name, str(c.year or "-"), f"{c.devices:,}", ", ".join(dict.fromkeys(m.key for m, _ in c.parts)), ", ".join(level.name for level in c.levels))
    return out


def cluster(console: Any, c: Any) -> None:
    """One cluster, its network level by level, the sources below."""
    console.print(f"{c.key}: {c.name}; {', '.join(f'{n:,} x {m.key}' for m, n in c.parts)}")
    out = table("level", "joins", "topology", "per device, one way", "latency", right=("joins", "per device, one way", "latency"))
    for level in c.levels:
        out.add_row(level.name, f"{level.size:,}", level.topology + (" that reduces" if level.reduces else ""), quantity(level.bandwidth_bytes_per_s, "B/s"), quantity(level.latency_s, "s"))
    console.print(out)
    for path, source in c.cited.items():
        console.print(f"{path}: {source}")
    if c.notes:
        console.print(c.notes)


def device(console: Any, d: Any) -> None:
    """One device, the source beside each figure."""
    console.print(f"{d.key}: {d.name} ({d.kind}{f', {d.vendor}' if d.vendor else ''}{f', {d.year}' if d.year else ''})")
    out = table("figure", "value", "source", right=("value",))
    sources: dict[str, int] = {}

    def row(path: str, value: float | None, unit: str, shown: str = "") -> None:
        if value is not None:
            source = d.cited.get(path, "")
            out.add_row(path, shown or quantity(value, unit), f"({sources.setdefault(source, len(sources) + 1)})" if source else "-")

    row("units", d.units, "1")
    row("clock", d.clock_hz, "Hz")
    row("tdp", d.tdp_w, "W")
    row("idle", d.idle_w, "W")
    row("process", d.process_nm, "nm", "" if d.process_nm is None else f"{d.process_nm:g} nm")
    row("launch_overhead", d.launch_overhead_s, "s")
    for what in ("matrix_rate", "vector_rate"):
        for dtype, rate in getattr(d, what).items():
            row(f"{what}.{dtype}", rate, "op/s")
    for level in d.memory:
        row(f"memory.{level.name}.capacity", level.capacity_bytes, "B")
        row(f"memory.{level.name}.bandwidth", level.bandwidth_bytes_per_s, "B/s")
    if d.array:
        row("array", d.array.rows, "1", f"{d.array.count} x {d.array.rows} x {d.array.cols}, {d.array.dataflow}")
    if d.fabric:
        for name in ("lut", "ff", "dsp", "bram_18k", "uram"):
            row(f"fabric.{name}", getattr(d.fabric, name), "1")
    console.print(out)
    for source, at in sources.items():
        console.print(f"({at}) {source}")
    if d.aliases:
        console.print(f"also known as: {', '.join(d.aliases)}")
    if d.notes:
        console.print(d.notes)


def workload(console: Any, told: Mapping[str, Any]) -> None:
    """What a workload file holds."""
    console.print(f"{told['name']}: {told['ops']} ops, {quantity(told['flops'], 'flop')} (2 per multiply-add), {told['params']:,} parameters "
                  f"({quantity(told['weight_bytes'], 'B')}), largest live activations {quantity(told['peak_activation_bytes'], 'B')}, computes in {', '.join(told['dtypes'])}")
    figures = ("ops", "FLOPs", "read", "written", "parameters")
    out = table("kind", *figures, right=figures)
    for kind, row in sorted(told["by_kind"].items(), key=lambda item: -item[1]["flops"]):
        out.add_row(kind, f"{row['ops']:,}", quantity(row["flops"], "flop"), quantity(row["bytes_read"], "B"), quantity(row["bytes_written"], "B"), f"{row['params']:,}")
    console.print(out)
    for note in told["notes"]:
        console.print(f"note: {note}")
    console.print(f"digest {told['digest']}")


def simulated(console: Any, told: Mapping[str, Any]) -> None:
    """The simulator's answers, one device per line; per-op lines where they were asked for."""
    found = list(dict.fromkeys(name for answer in told["answers"] for name in answer["values"]))
    heads = [_HEADS.get(t, t) for t in found]
    out = table("device", *heads, right=tuple(heads))
    for answer in told["answers"]:
        out.add_row(answer["hardware"], *(quantity(answer["values"].get(t), _unit(t)) for t in found))
    console.print(out)
    for answer in told["answers"]:
        for note in answer["notes"]:
            console.print(f"note: {note}")
        if answer["infeasible"]:
            console.print(f"{answer['hardware']}: does not fit: {answer['infeasible']}")
    if told["workload"]["bounded_ops"]:
        console.print(f"unknown operators, only bounded by their traffic: {', '.join(told['workload']['bounded_ops'])}")
    for answer in told["answers"]:
        if "ops" in answer:
            lines = table("op", "kind", "latency", "energy", "DRAM traffic", "limit", right=("latency", "energy", "DRAM traffic"), title=answer["hardware"])
            for op in answer["ops"]:
                own = [quantity(float(op[f]), u) for f, u in (("latency_s", "s"), ("energy_j", "J"), ("dram_bytes", "B"))]
                lines.add_row(op["name"], op["kind"], *(own if op["latency_s"] else ("-", "-", "-")), op["limit"] if op["latency_s"] else "fused into one before")
            console.print(lines)
    console.print(f"{told['workload']['name']}; simulator version {told['version']}")


def predicted(console: Any, told: Mapping[str, Any]) -> None:
    """One workload on devices: a line each, the reason of a doubt below."""
    units = told["units"]
    heads = [_HEADS.get(t, t) for t in units]
    out = table("device", *heads, "domain", right=tuple(heads))
    for row in told["predictions"]:
        out.add_row(row["hardware"], *_cells(row, units), row["domain"]["verdict"])
    console.print(out)
    _doubts(console, [(row["hardware"], row) for row in told["predictions"]], told)
    _footer(console, f"{told['workload']['name']}", told)


def predicted_sheet(console: Any, told: Mapping[str, Any], most: int = 20) -> None:
    """A table's answers: the first rows, and how many lie in the domain."""
    if "predictions" in told:
        units = told["units"]
        heads = [_HEADS.get(t, t) for t in units]
        out = table("row", *heads, "domain", right=("row", *heads))
        for row in told["predictions"][:most]:
            out.add_row(str(row["row"]), *_cells(row, units), row["domain"]["verdict"])
        console.print(out)
        _doubts(console, [(f"row {row['row']}", row) for row in told["predictions"][:most]], told)
        if told["rows"] > most:
            console.print(f"the first {most} of {told['rows']:,} rows; --out FILE keeps them all")
    console.print(", ".join(f"{count:,} rows {verdict}" for verdict, count in told["domain"].items()))
    for note in told.get("notes", ()):
        console.print(note)
    _footer(console, told["table"], told)


def _cells(row: Mapping[str, Any], units: Mapping[str, str]) -> list[str]:
    shown = [interval(t["point"], t["low"], t["high"], _unit(name, units)) for name, t in row["targets"].items()]
    return shown if row["calibrated"] else [cell.replace(" [", f" {_UNCALIBRATED}[") for cell in shown]


def _doubts(console: Any, rows: Sequence[tuple[str, Mapping[str, Any]]], told: Mapping[str, Any]) -> None:
    for label, row in rows:
        if row["domain"]["verdict"] != "in_domain":
            who = f" [answered by {row['model']} {row['version']}]" if row["model"] != told["model"] else ""
            console.print(f"{label}: {row['domain']['verdict']}{': ' if row['domain']['reason'] else ''}{row['domain']['reason']}{who}")


def _footer(console: Any, what: str, told: Mapping[str, Any]) -> None:
    out = f"; written to {told['out']}" if "out" in told else ""
    console.print(f"{what}; model {told['model']} version {told['version']}{out}")
    console.print(f"intervals hold at {100 * told['level']:.3g} % for rows in the domain; for the others they are not calibrated ({_UNCALIBRATED})" if told["level"]
                  else "no calibrated intervals")


def story(console: Any, told: Any) -> None:
    """What came of an experiment."""
    out = table("model", "version", "target", "median APE", "p90 APE", "within 10 %", "coverage", "champion", right=("median APE", "p90 APE", "within 10 %", "coverage"))
    for model in told.models:
        for name, of in model.metrics.items():
            out.add_row(model.name, model.version, name, *(_percent(of.get(m)) for m in ("median_ape", "p90_ape", "within_10", "coverage")), "yes" if model.champion else "no")
    console.print(out)
    for model in told.models:
        for reason in model.gate:
            console.print(f"{model.name} version {model.version}: {reason}")
    console.print(f"report {told.report}; store {told.tracking_uri}, run {told.run_id}; {sum(told.timings.values()):.1f} s")


def _percent(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{100 * value:.3g} %"


def card(console: Any, card: Any, out: Path | None = None) -> None:
    """A model card in short."""
    console.print(f"{card.name}: answers {', '.join(f'{t} ({card.units.get(t) or 1})' for t in card.targets)} for {card.shape} questions")
    console.print(f"learned from {card.data_rows:,} rows of {card.data_source} (digest {card.data_digest}); split: {card.split}; seed {card.seed}")
    console.print(f"feature version {card.feature_version}, simulator version {card.simulator_version or '-'}, silicast {card.silicast_version or '-'}")
    if card.data_licence:
        console.print(f"licence of the data: {card.data_licence}")
    metrics(console, card.metrics, "rows it never saw")
    if out is not None:
        console.print(f"{f'intervals at {card.level:.0%}' if card.level else 'no calibrated intervals'}; written to {out}")


#: measures a person is shown, and their heads; `--json` has them all
_MEASURES = {"rows": "rows", "median_ape": "median APE", "p90_ape": "p90 APE", "within_5": "within 5 %", "within_10": "within 10 %", "spearman": "Spearman", "coverage": "coverage",
             "auroc": "AUROC", "brier": "Brier"}


def metrics(console: Any, found: Any, what: str) -> None:
    """Measures by slice, from a table or from slice -> target -> measure -> value."""
    rows = _metric_rows(found)
    if not rows:
        console.print(f"{what}: no figures")
        return
    labels = [c for c in ("slice", "value", "target", "measure") if any(row.get(c) not in (None, "") for row in rows)]
    shown = [c for c in _MEASURES if any(row.get(c) is not None for row in rows)]
    out = table(*labels, *(_MEASURES[c] for c in shown), right=tuple(_MEASURES.values()), title=what)
    for row in rows:
        out.add_row(*(str(row.get(c) if row.get(c) is not None else "") for c in labels),
                    *(f"{int(row[c]):,}" if c == "rows" and row.get(c) is not None else _figure(row.get(c), c) for c in shown))
    console.print(out)


def evaluated(console: Any, found: Any, what: str) -> None:
    """Measures by slice on a table, and the share of its rows the guard warned of."""
    metrics(console, found.frame, what)
    console.print(f"{found.rows:,} rows of {found.source}; {found.flagged:.1%} outside the model's domain")


def _metric_rows(found: Any) -> list[dict[str, Any]]:
    data = plain(found)
    if isinstance(data, list):
        return [dict(row) for row in data]
    if not isinstance(data, dict):
        return [{"value": data}]
    rows: list[dict[str, Any]] = []
    for name, of in data.items():
        if isinstance(of, dict) and of and all(isinstance(v, dict) for v in of.values()):
            rows += [{"slice": name, "target": target, **values} for target, values in of.items()]
        elif isinstance(of, dict):
            rows.append({"slice": name, **of})
        else:
            rows.append({"measure": name, "value": of})
    return rows


def _figure(value: Any, measure: str) -> str:
    if measure in ("spearman", "auroc", "brier") and isinstance(value, float) and math.isfinite(value):
        return f"{value:.3f}"
    return _percent(value)


def models(console: Any, found: Sequence[Any]) -> None:
    """The registry, one line per model."""
    if not found:
        console.print("nothing is registered yet; `silicast demo` or `silicast train EXPERIMENT` makes a model")
        return
    out = table("model", "champion", "versions", "champions before")
    for m in found:
        out.add_row(m.name, m.champion or "-", ", ".join(v.version for v in m.versions), ", ".join(m.former) or "-")
    console.print(out)


def model(console: Any, found: Any, number: str | None, of: Any) -> None:
    """One registered model: its versions and a card."""
    out = table("version", "aliases", "data", "gate", "reasons")
    for v in found.versions:
        out.add_row(v.version, ", ".join(v.aliases) or "-", v.tags.get("data_digest", "-"), v.tags.get("gate", "-"), v.tags.get("gate_reasons", "-"))
    console.print(f"{found.name}; champion: version {found.champion}" if found.champion else f"{found.name}; no champion")
    console.print(out)
    if of is not None:
        console.print(f"version {number}:")
        card(console, of)


def promoted(console: Any, done: Any) -> None:
    """What a promotion or rollback did."""
    console.print(f"{done.name}: version {done.version} is champion (before: {done.previous or 'none'})")
    for reason in done.reasons:
        console.print(f"  {reason}")


def facts(console: Any, value: Any, what: str) -> None:
    """A result as key and value, long lists counted instead of printed."""
    console.print(what)
    data = plain(value)
    if isinstance(data, dict):
        for key, one in data.items():
            console.print(f"  {key}: {f'{len(one)} entries' if isinstance(one, (dict, list)) else one}")
    elif data is not None:
        console.print(f"  {data}")
