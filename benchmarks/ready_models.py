"""The ready-made models' cards in short: printed, or written into docs/ready.md between its two marks.

    python benchmarks/ready_models.py [--page] [--json PATH]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _tables import print_table, write_json

from silicast.surrogates import ready
from silicast.surrogates.card import ModelCard

PAGE = Path(__file__).parent.parent / "docs" / "ready.md"
MARKS = ("<!-- cards -->", "<!-- end of cards -->")
_HEADS = {"latency_s": "latency", "power_w": "power", "energy_j": "energy", "memory_bytes": "memory", "ttft_s": "first token", "tpot_s": "per token"}
#: model -> slices shown beside all rows
_SLICES = {"gpu-kernels": ("device", "op"), "gpu-power": ("device", "op"), "networks": ("kind", "unseen devices"), "networks-graph": ("kind",), "llm-serving": ("device",), "llm-inference": ("device",)}


def rows(card: ModelCard) -> Iterator[dict[str, Any]]:
    """One row per shown slice and target; of networks by slice only latency and power."""
    for key, of in card.metrics.items():
        kind = key.split("=")[0]
        if key != "all" and kind not in _SLICES.get(card.name, ()):
            continue
        for target, m in of.items():
            if key != "all" and card.name.startswith("networks") and target not in ("latency_s", "power_w"):
                continue
            label = "machines never seen" if key == "unseen devices" else key.replace("=", " ")
            yield {"model": card.name, "rows never seen": label, "answer": _HEADS.get(target, target), "rows": int(m.get("rows", 0)),
                   "median %": f"AUROC {m['auroc']:.3f}" if "auroc" in m else _percent(m.get("median_ape")), "p90 %": _percent(m.get("p90_ape")), "covered %": _percent(m.get("coverage"))}


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2g}" if value < 0.1 else f"{100 * value:.0f}"


def page(card: ModelCard, size_bytes: int) -> list[str]:
    """A card's part of the page."""
    extra = card.extra
    data = extra.get("attribution") or f"labels of the simulator, version {card.simulator_version}"
    lines = [f"### {card.name}", "", f"{extra['about'][0].upper()}{extra['about'][1:]}.", "", f"* **Ask** {extra['asks']}.",
             f"* **Data**: {data}; {card.data_rows:,} rows learned from ({size_bytes / 1e6:.1f} MB here, version {card.version})."]
    lines += [f"* **{extra['sample'].capitalize()}.**"] if extra.get("sample") else []
    lines += [f"* **Split**: {card.split}.", f"* **Do not trust it**: {extra['doubts']}", "", "| rows never seen | answer | rows | median % | p90 % | covered % |", "|---|---|---|---|---|---|"]
    return [*lines, *(f"| {r['rows never seen']} | {r['answer']} | {r['rows']:,} | {r['median %']} | {r['p90 %']} | {r['covered %']} |" for r in rows(card)), ""]


def main() -> None:
    """Prints every card's table; --page writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", action="store_true", help="write the tables into docs/ready.md")
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    cards = [ready.card(name) for name in ready.names()]
    sizes = {name: sum(p.stat().st_size for p in ready.folder(name).iterdir()) for name in ready.names()}
    every = [row for card in cards for row in rows(card)]
    print_table(f"Ready-made models, {sum(sizes.values()) / 1e6:.1f} MB together", every)
    if given.page:
        text = PAGE.read_text(encoding="utf-8")
        before, after = text.partition(MARKS[0])[0], text.partition(MARKS[1])[2]
        body = "\n".join(line for card in cards for line in page(card, sizes[card.name])).rstrip()
        PAGE.write_text(f"{before}{MARKS[0]}\n\n{body}\n\n{MARKS[1]}{after}", encoding="utf-8")
    write_json(given.json, {"bytes": sizes, "rows": every})


if __name__ == "__main__":
    main()
