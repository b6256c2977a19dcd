"""The tables of docs/accuracy.md from what `benchmarks/accuracy.py` measured: python benchmarks/accuracy_page.py [JSON]

`accuracy.py --page` does the same at its end. Words beside the tables are written by hand; what stands between a pair of marks is replaced.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
PAGE, FIGURES = DOCS / "accuracy.md", DOCS / "benchmarks" / "accuracy.json"
#: measures that are no percentages
_PLAIN = ("R2", "AUROC", "Kendall tau", "Spearman", "R2 of log", "Spearman inside the kernel")
#: protocols whose slices are machines: too many lines for a page; the JSON has them
_ONE_LINE = ("gemm_sites", "gemm_frontier", "attention", "moe", "mla", "vidur")
#: protocols that ask about machines and sizes that were learned from
_WITHIN = ("gemm_sites", "attention", "moe", "mla", "power", "vidur")
_CONFIGURATIONS = ("Accel-NASBench", "HAT", "EC-NAS", "gpuPTX, unseen clocks", "Zeus, unseen (network, batch)", "LLM-Inference-Bench, unseen pair", "serving, unseen configuration",
                   "Splitwise, unseen configuration", "hls4ml, unseen configuration", "HLSyn, designs of known kernels")


def write_page(measured: Mapping[str, Any]) -> None:
    """Fills the marked parts of docs/accuracy.md."""
    text = PAGE.read_text(encoding="utf-8")
    parts = {"run": [_run(measured)], "operators": _operators(measured["summary"]), "tables": _tables(measured["tables"]), "guard": _guard(measured["guard"]), "intervals": _intervals(measured)}
    for name, lines in parts.items():
        first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if first not in text or last not in text:
            raise SystemExit(f"{PAGE}: no mark {first} ... {last}")
        text = f"{text.partition(first)[0]}{first}\n\n" + "\n".join(lines) + f"\n\n{last}{text.partition(last)[2]}"
    PAGE.write_text(text, encoding="utf-8")


def _run(measured: Mapping[str, Any]) -> str:
    """What run this was, in words."""
    worked = sum(r["processor s"] for r in {(r["protocol"], r["case"], r["seed"]): r for r in measured["rows"]}.values())
    failed = ", ".join(f["protocol"] for f in measured.get("failed", ()))
    took = f"The whole run took {measured['minutes']:.0f} minutes on two cores" if "minutes" in measured else "The run was stopped before its end"
    return (f"{took}; fits of operator tables {worked:,.0f} s of processor time in it. Operator tables: {_counted([r['seeds'] for r in measured['summary']])}; "
            f"plain tables: {_counted([r['seeds'] for r in measured['tables']])}." + (f" Broke off: {failed}." if failed else ""))


def _counted(seeds: Sequence[int]) -> str:
    """How many seeds, in words."""
    if not seeds:
        return "none"
    low, high = min(seeds), max(seeds)
    return f"{low} seed{'s' if low > 1 else ''}" if low == high else f"{low} to {high} seeds"


def _operators(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| held out | what | ours | +- | LightGBM | roofline | covered | published | aim |", "|---|---|---|---|---|---|---|---|---|"]
    for r in rows:
        if r["protocol"] in _ONE_LINE and r["slice"] != "all":
            continue
        what = {"latency_s": "latency", "power_w": "power"}[r["target"]] if r["slice"] == "all" else r["slice"]
        ours, plain = (_number(r[k]) for k in ("+-", "roofline"))
        lines.append(f"| {r['case']} | {what} | {r['median %']:.1f} / {r['p90 %']:.1f} / {r['mean %']:.1f} | {ours} | {r['LightGBM']:.1f} / {r['LightGBM mean']:.1f} | {plain} | {100 * r['covered']:.0f} % | "
                     f"{r['published'] or '-'} | {r['aim'] or '-'} |")
    return lines


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| held out | target | measure | ours | spread | beside | covered | published | aim |", "|---|---|---|---|---|---|---|---|---|"]
    for r in rows:
        digits = 3 if r["measure"] in _PLAIN else 1
        beside = next((f"{_number(r[k], digits)}{word}" for k, word in (("plain LightGBM", ""), ("uncorrected", " uncorrected"), ("ours, 10 suggested", " suggested")) if k in r), "-")
        covered = "-" if r.get("coverage") is None else f"{100 * r['coverage']:.0f} %"
        spread = _number(r["spread"], digits) if r["seeds"] > 1 else "-"
        lines.append(f"| {r['protocol']} | {r['target'].removesuffix('_s').removesuffix('_w').removesuffix('_j')} | {r['measure']} | {_number(r['ours'], digits)} | {spread} | {beside} | {covered} | "
                     f"{r['published']} | {r['aim']} |")
    return lines


def _guard(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| trial | asked about | rows | wrong | AUROC of novelty | of the verdict | rejected | error rejected / accepted | error novel / not | median error | covered, accepted; rejected |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    for r in rows:
        covered = "; ".join("-" if r[k] is None else f"{r[k]:.0f} %" for k in ("covered, accepted %", "covered, rejected %"))
        lines.append(f"| {r['trial']} | {r['held out']} | {r['rows']:,} | {r['wrong %']:.1f} % | {_number(r['AUROC novelty'], 2)} | {_number(r['AUROC verdict'], 2)} | {r['flagged %']:.0f} % | "
                     f"{_number(r['rejected / accepted'])} | {_number(r['novel / not'])} | {r['median APE %']:.1f} % | {covered} |")
    return lines


def _intervals(measured: Mapping[str, Any]) -> list[str]:
    """What 90 % intervals covered: within what was learned from, its worst machine, and machines never seen."""
    # what broke off is not there: such a run is told, not averaged
    if measured.get("failed"):
        return ["Not told: protocols broke off in this run."]
    within = [r for r in measured["summary"] if r["protocol"] in _WITHIN and "never seen" not in r["case"]]
    whole, each = ([r for r in within if (r["slice"] == "all") is is_all] for is_all in (True, False))
    plain = [r["coverage"] for r in measured["tables"] if r.get("coverage") is not None and r["protocol"].startswith(_CONFIGURATIONS)]
    worst = min(each, key=lambda r: r["covered"])
    new = [r["covered"] for r in measured["summary"] if "never seen" in r["case"] and r["slice"] == "all"]
    few = [r["coverage"] for r in measured["tables"] if "uncorrected" in r]
    return [f"Operators, sites and shapes held out: {100 * min(r['covered'] for r in whole):.0f} to {100 * max(r['covered'] for r in whole):.0f} %, mean of the protocols {100 * sum(r['covered'] for r in whole) / len(whole):.1f} %; "
            f"worst machine {100 * worst['covered']:.0f} % ({worst['case']}: {worst['slice']}). Plain tables, configurations held out: {100 * min(plain):.0f} to {100 * max(plain):.0f} %, mean {100 * sum(plain) / len(plain):.1f} %. "
            f"Operators on machines never seen: {100 * min(new):.0f} to {100 * max(new):.0f} %. After few measurements of a new machine: {100 * min(few):.0f} to {100 * max(few):.0f} %, mean {100 * sum(few) / len(few):.1f} %."]


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    write_page(json.loads(Path(sys.argv[1] if len(sys.argv) > 1 else FIGURES).read_text(encoding="utf-8")))
