"""Program graphs of HLS kernels and hls4ml projects for the contract of frontends; a reader that is not named in `READERS` has no case."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from silicast.datasets.frontends import READERS

Maker = Callable[[Path], Path]

#: for (i = 0; i < 100; i++) y[i] = x[i] * x[i] + y[i], as unoptimised LLVM; blocks 0 to 4
BLOCKS = [
    ["%x.addr = alloca double*, align 8", "%y.addr = alloca double*, align 8", "%i = alloca i32, align 4", "store i32 0, i32* %i, align 4", "br label %for.cond"],
    ["%0 = load i32, i32* %i, align 4", "%cmp = icmp slt i32 %0, 100", "br i1 %cmp, label %for.body, label %for.end"],
    ["%1 = load double*, double** %x.addr, align 8", "%2 = load i32, i32* %i, align 4", "%w = sext i32 %2 to i64", "%px = getelementptr inbounds double, double* %1, i64 %w",
     "%3 = load double, double* %px, align 8", "%mul = fmul double %3, %3", "%4 = load double*, double** %y.addr, align 8",
     "%py = getelementptr inbounds double, double* %4, i64 %w", "%5 = load double, double* %py, align 8", "%add = fadd double %mul, %5", "store double %add, double* %py, align 8", "br label %for.inc"],
    ["%6 = load i32, i32* %i, align 4", "%inc = add nsw i32 %6, 1", "store i32 %inc, i32* %i, align 4", "br label %for.cond"],
    ["ret void"],
]
BRANCHES = [(0, 1), (1, 2), (1, 4), (2, 3), (3, 1)]


def graph(change: Callable[[str], str] = lambda text: text) -> Maker:
    nodes = [(number, text) for number, block in enumerate(BLOCKS) for text in block]
    first = {n: min(i for i, (b, _) in enumerate(nodes) if b == n) for n in range(len(BLOCKS))}
    last = {n: max(i for i, (b, _) in enumerate(nodes) if b == n) for n in range(len(BLOCKS))}
    compare = next(i for i, (_, t) in enumerate(nodes) if "icmp" in t)

    def node(key: int, block: int, kind: int, text: str) -> str:
        given = ((0, block), (1, 0), (3, kind), (4, text))
        return f'<node id="{key}"><attvalues>' + "".join(f'<attvalue for="{k}" value={quoteattr(str(v))}/>' for k, v in given) + "</attvalues></node>"

    def edge(a: int, b: int, flow: int) -> str:
        return f'<edge source="{a}" target="{b}"><attvalues><attvalue for="5" value="{flow}"/></attvalues></edge>'

    text = ('<gexf xmlns="http://www.gexf.net/1.2draft"><graph><attributes class="edge"><attribute id="5" title="flow"/></attributes><attributes class="node">'
            + "".join(f'<attribute id="{i}" title="{t}"/>' for i, t in ((0, "block"), (1, "function"), (3, "type"), (4, "full_text"))) + "</attributes><nodes>"
            + "".join(node(i, b, 0, t) for i, (b, t) in enumerate(nodes)) + node(len(nodes), 1, 3, "#pragma ACCEL PARALLEL FACTOR=auto{__PARA__L0}") + "</nodes><edges>"
            + "".join(edge(last[a], first[b], 0) for a, b in BRANCHES) + edge(compare, len(nodes), 3) + "</edges></graph></gexf>")

    def maker(folder: Path) -> Path:
        path = folder / "kernel.gexf"
        path.write_text(change(text), encoding="utf-8")
        return path
    return maker


def dense(**config: Any) -> dict[str, Any]:
    layer = {"class_name": "Dense", "config": {"name": "fc1", "units": 3, "activation": "relu", "batch_input_shape": [None, 4], **config}}
    return {"class_name": "Sequential", "config": {"name": "net", "layers": [layer]}}


YAML = "KerasJson: model.json\nHLSConfig:\n  Model: {Precision: 'ap_fixed<16,6>', ReuseFactor: 1}\n"


def project(suffix: str, text: str = YAML, model: Any = None) -> Maker:
    def maker(folder: Path) -> Path:
        (folder / "model.json").write_text(json.dumps(model or dense()), encoding="utf-8")
        path = folder / f"hls4ml_config{suffix}"
        path.write_text(text, encoding="utf-8")
        return path
    return maker


def strange(folder: Path) -> tuple[Path, str]:
    model = dense()
    model["config"]["layers"].append({"class_name": "Lambda", "config": {"name": "magic"}})
    return project(".yml", model=model)(folder), "magic"


BOMB = '<!DOCTYPE g [<!ENTITY a "aaaaaaaaaa">' + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)) + "]>"

CASES: list[dict[str, Any]] = []
if ".gexf" in READERS:
    CASES.append({
        "suffix": ".gexf", "good": graph(), "flops": 2 * 100, "arguments": {},
        "hostile": {
            "a compare of nothing": graph(lambda t: t.replace("icmp slt i32 %0, 100", "icmp ")), "a bound that is data": graph(lambda t: t.replace("%0, 100", "%0, %n")), "empty": graph(lambda t: ""), "an entity bomb": graph(lambda t: BOMB + t.replace("br label", "&i;", 1)),
            "an outside file": graph(lambda t: '<!DOCTYPE g SYSTEM "file:///etc/hostname">' + t), "nested": graph(lambda t: "<a>" * 200_000),
            "a long text": graph(lambda t: t.replace("fmul", "f" * 1_000_000, 1)), "many nodes": graph(lambda t: t.replace("<nodes>", "<nodes>" + "".join(f'<node id="n{i}"/>' for i in range(90_000)))),
            "a number of thousands of digits": graph(lambda t: t.replace("%0, 100", f"%0, {'9' * 4000}")), "many loops": graph(lambda t: t.replace("</edges>", '<edge source="7" target="5"/>' * 50_000 + "</edges>"))}})
if ".yml" in READERS:
    CASES.append({
        "suffix": ".yml", "good": project(".yml"), "flops": 2 * 4 * 3 + 3 + 3, "unknown": strange,
        "hostile": {
            "empty": project(".yml", ""), "nested": project(".yml", "[" * 100_000), "nested blocks": project(".yml", "- " * 100_000), "another folder": project(".yml", YAML.replace("model.json", "../model.json")),
            "python": project(".yml", YAML + "x: !!python/object/apply:os.system ['true']\n"), "aliases": project(".yml", "a: &a [1]\n" + "b: [*a, *a]\n" + YAML),
            "long": project(".yml", YAML + "x: y\n" * 200_000), "huge sizes": project(".yml", model=dense(units=2**61, batch_input_shape=[None, 2**61]))}})
