"""Every parser against mutants of real documents, for as long as is asked: read, or refused as the contract says.

    python tests/contracts/fuzz.py hf --seconds 600              # one parser; processor seconds of the parser's own process
    python tests/contracts/fuzz.py all --seconds 600 --json docs/benchmarks/fuzz.json

A mutant changes the structure of a document (`mutants.py`); one whose outcome is new (another error, another mixture of operators) becomes a parent
of others. The contract: a `Workload` that comes back equal from its own JSON, or an error of silicast's tree in one line of at most 4,000 characters
that names the file; within a second of processor time (measured twice before it counts; what is read may take 0.3 ms more per operator) and 500 MB. What breaks it is kept under --keep, once per
kind, with the traceback. A parser that kills its process is started again, and its file kept.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MOST_SECONDS, MOST_BYTES, MOST_TEXT = 1.0, 500e6, 4000
#: a mutant is stopped after so much processor time, and its process ended after so much of the clock
STOPPED_AFTER_S, DEAD_AFTER_S = 4.0, 120.0
Files = dict[str, bytes]  # the first is what is read, the others lie beside it


def load(path: Path) -> Any:
    """A Python file of the tests as a module."""
    spec = importlib.util.spec_from_file_location(f"fuzz_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Target:
    """A parser: documents to begin with, how each file is mutated (by suffix), what reads one."""

    seeds: Callable[[Path], list[Files]]
    kinds: dict[str, str]
    read: Callable[[Path, random.Random], Any]
    names_file: bool = True


def _made(case_file: str, folder: Path, suffixes: tuple[str, ...]) -> list[Files]:
    """The files of a contract case, those made to hurt too while they are small."""
    out = []
    for case in load(HERE / "frontends" / f"{case_file}.py").CASES:
        for number, maker in enumerate([case["good"], *case.get("harmless", {}).values(), *case.get("hostile", {}).values()]):
            inside = folder / f"{case_file}{case['suffix']}{number}"
            inside.mkdir(parents=True, exist_ok=True)
            path = maker(inside)
            if path.suffix in suffixes and path.stat().st_size < 50_000:
                out.append({path.name: path.read_bytes(), **{p.name: p.read_bytes() for p in inside.iterdir() if p != path and p.is_file() and p.stat().st_size < 50_000}})
    return out


def _published() -> list[Any]:
    return [config for config, *_ in load(HERE.parent / "datasets/frontends/test_hf.py").PUBLISHED.values()]


def _hf(folder: Path) -> list[Files]:
    small = [{**c, **{k: min(v, 4) for k, v in c.items() if "layer" in k and isinstance(v, int)}} for c in _published()]
    return [{"config.json": json.dumps(c).encode()} for c in small] + _made("hf", folder, (".json",))


def _chakra(folder: Path) -> list[Files]:
    from silicast.datasets.frontends.chakra import write_chakra
    from silicast.datasets.frontends.chakra_collectives import ring_all_reduce
    from silicast.datasets.frontends.hf import read_config

    gpt = read_config({"model_type": "gpt2", "n_embd": 64, "n_layer": 1, "n_head": 4, "n_positions": 64, "vocab_size": 100}).workload("prefill", tokens=8, tensor=2, collectives=True)
    found = []
    for suffix in (".et", ".json"):
        path = folder / f"ours{suffix}"
        write_chakra(gpt, path)
        found.append({path.name: path.read_bytes()})
    return [*found, {"ring.et": ring_all_reduce(4, 1024)[0].to_bytes()}, *_made("chakra", folder, (".et", ".json"))]


def _mlir(folder: Path) -> list[Files]:
    tests = HERE.parent / "datasets/frontends"
    texts = [p.read_bytes() for p in sorted((tests / "mlir").iterdir()) if p.stat().st_size < 50_000]
    module = load(tests / "test_mlir.py")
    texts += [str(value).encode() for name, value in vars(module).items() if name.isupper() and isinstance(value, str) and "func" in value]
    for text in re.findall(r'"""(.*?)"""', (tests / "test_mlir.py").read_text(), re.DOTALL):
        if "func.func" in text:
            texts.append(text.encode())
    for operation in re.findall(r'\("(%[^\n]*?)", "\w+", ', (tests / "test_mlir.py").read_text()):
        texts.append(f"func.func @main(%a: tensor<4x8xf32>, %b: tensor<8x2xf32>, %x: tensor<4x8xf32>) -> tensor<4x8xf32> {{\n{operation}\nreturn %a : tensor<4x8xf32>\n}}".encode())
    return [{"m.mlir": text} for text in texts] + _made("mlir", folder, (".mlir", ".stablehlo"))


def _hls(folder: Path) -> list[Files]:
    found = _made("hls", folder, (".gexf",))
    tests = load(HERE.parent / "datasets/frontends/test_hls.py")
    for number, (start, bound) in enumerate((("0", "12"), ("%v0", "12"), ("3", "%m"), ("11", "0"))):
        found.append({"kernel.gexf": tests.matvec(folder / f"{number}.gexf", start, bound).read_bytes()})
    archive = HERE.parents[2] / "shared/data/hlsyn/graphs.tar.gz"
    if archive.exists():  # published graphs, where they are at hand
        with tarfile.open(archive) as packed:
            for member in packed.getmembers():
                file = packed.extractfile(member) if member.name.endswith(".gexf") and member.size < 120_000 else None
                if file is not None:
                    found.append({"kernel.gexf": file.read()})
    return found


def _hls4ml(folder: Path) -> list[Files]:
    other = load(HERE.parent / "datasets/frontends/test_hls_fuzz.py")
    yaml = load(HERE.parent / "datasets/frontends/test_hls4ml_config.py").YAML.encode()
    models = [json.dumps(m).encode() for m in other.models()]
    quantised = load(HERE.parent / "datasets/frontends/test_onnx_qonnx.py").seeds()[0].SerializeToString()
    by_node = b"OnnxModel: net.onnx\nHLSConfig:\n  Model: {Precision: 'ap_fixed<16,6>', ReuseFactor: 1}\n  LayerName:\n    fc1: {ReuseFactor: 8, Strategy: Resource}\n"
    return [{"c.yml": by_node, "net.onnx": quantised}] + [{"c.yml": yaml.replace(b"tagger.json", b"model.json"), "model.json": m} for m in models] + [{"model.json": m} for m in models] + _made("hls", folder, (".yml",))


def _encodings(folder: Path) -> list[Files]:
    return [{f"{name}.json": json.dumps(good).encode()} for name, good in load(HERE.parent / "datasets/encodings/test_encodings.py").GOOD.items()]


def _onnx(folder: Path) -> list[Files]:
    tests = HERE.parent / "datasets/frontends"
    found = [{"net.onnx": m.SerializeToString()} for m in load(tests / "test_onnx_fuzz.py").seeds()]
    found += [{"net.onnx": m.SerializeToString()} for m in load(tests / "test_onnx_qonnx.py").seeds()]
    return found + _made("onnx", folder, (".onnx",))


def _read(path: Path, draw: random.Random) -> Any:
    from silicast.datasets.frontends import read

    arguments: dict[str, Any] = {"unknown_ops": draw.choice(["error", "bound"])}
    if draw.random() < 0.2:
        arguments["dtype"] = draw.choice(["float16", "int8", "int4_wo"])
    if path.suffix == ".et":
        arguments["dims"] = {"ranks": draw.choice([1, 4, 0, 2**40])}
    return read(path, **arguments)


def _read_hf(path: Path, draw: random.Random) -> Any:
    from silicast.datasets.frontends import read

    phase = draw.choice([None, "prefill", "decode", "forward", "backward", "train"])
    dims = {name: draw.choice([1, 2, 8, 0, 100_000, 2**40]) for name in ("batch", "tokens", "past", "tensor", "expert", "target") if draw.random() < 0.15}
    return read(path, phase=phase, dims=dims, dtype=draw.choice([None, None, "float16", "int4_wo"]))


def _read_hls(path: Path, draw: random.Random) -> Any:
    from silicast.datasets.frontends.hls import read_hls

    return read_hls(path, draw.choice([None] * 6 + [{"__PARA__L0": draw.choice([1, 0, "flatten", 2**70, None])}, {"loop0": draw.choice([3, 0, -1, 2**50])}])).workload


def _read_hls4ml(path: Path, draw: random.Random) -> Any:
    from silicast.datasets.frontends.hls4ml import read_hls4ml, read_keras

    project = (read_keras if path.suffix == ".json" else read_hls4ml)(path, batch=draw.choice([1, 1, 2, 0, 2**40]))
    project.plan()
    return project.workload


def _decode(path: Path, draw: random.Random) -> Any:
    from silicast.datasets.encodings import decode

    return decode(path.stem, json.loads(path.read_bytes()), batch=draw.choice([1, 1, 32, 0, 2**40]), resolution=draw.choice([0, 0, 32, 224, 1, 2**30]))


TARGETS: dict[str, Target] = {
    "hf": Target(_hf, {".json": "tree"}, _read_hf),
    "chakra": Target(_chakra, {".et": "messages", ".json": "tree"}, _read),
    "mlir": Target(_mlir, {".mlir": "text", ".stablehlo": "text"}, _read),
    "hls": Target(_hls, {".gexf": "xml"}, _read_hls),
    "hls4ml": Target(_hls4ml, {".yml": "text", ".json": "tree", ".onnx": "wire"}, _read_hls4ml),
    "encodings": Target(_encodings, {".json": "tree"}, _decode, names_file=False),
    "onnx": Target(_onnx, {".onnx": "wire"}, _read),
    "workload": Target(lambda folder: _made("json", folder, (".json",)), {".json": "tree"}, _read),
}


class _Stopped(BaseException):
    """A mutant took far too long."""


def _peak_bytes() -> float:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024.0


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _once(target: Target, path: Path, seed: int) -> tuple[str, str, str, float, float]:
    """(outcome, what breaks the contract or "", traceback, processor seconds, peak bytes) of reading a file."""
    from silicast.datasets.errors import SilicastError
    from silicast.datasets.workload import Workload

    _forget_peak()
    wrong, trace, allowed = "", "", 0.0
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, STOPPED_AFTER_S)
    try:
        workload = target.read(path, random.Random(seed))
        signal.setitimer(signal.ITIMER_PROF, 0)
        took = time.process_time() - began
        allowed = 3e-4 * len(workload.ops)  # twice what a graph of 10,000 nodes may take: a loop may well unroll to that
        outcome = f"read {len(workload.ops).bit_length()} " + " ".join(sorted({op.kind for op in workload.ops}))
        if not (workload.flops >= 0 and workload.bytes_read >= 0):
            wrong = f"impossible counts: {workload.flops} FLOPs, {workload.bytes_read} bytes"
        elif len(workload.ops) < 300 and Workload.from_json(workload.to_json()) != workload:
            wrong = "does not come back equal from its own JSON"
    except SilicastError as error:
        signal.setitimer(signal.ITIMER_PROF, 0)
        took, said = time.process_time() - began, str(error)
        outcome = type(error).__name__ + " " + re.sub(r"\d+", "#", re.sub(r"'[^']*'|\"[^\"]*\"", "?", said.replace(str(path), "")))[:70]
        if "\n" in said or len(said) > MOST_TEXT or not said.isprintable():
            wrong = f"the message is not one line of text, or is {len(said)} characters long: {said[:200]!r}"
        elif target.names_file and str(path.parent) not in said:
            wrong = f"the message does not name the file: {said[:200]!r}"
    except _Stopped:
        took, outcome, wrong, trace = time.process_time() - began, "stopped", "takes too long", traceback.format_exc()
    except BaseException as error:
        signal.setitimer(signal.ITIMER_PROF, 0)
        took, trace = time.process_time() - began, traceback.format_exc()
        last = traceback.extract_tb(error.__traceback__)[-1]
        outcome = wrong = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {str(error)[:120]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    peak = _peak_bytes()
    if not wrong and took > MOST_SECONDS + allowed:
        wrong = f"slow: {took:.2f} s"
    if not wrong and peak > MOST_BYTES:
        wrong = f"large: {peak / 1e6:.0f} MB"
    return outcome, wrong, trace, took, peak


def work(name: str, seconds: float, seed: int, keep: Path) -> None:
    """Fuzzes one parser in this process until it has used `seconds` of processor time; tells how it goes in `keep/status.json`."""
    mutants = load(HERE / "mutants.py")
    target, draw = TARGETS[name], random.Random(seed)
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))

    def stop(*_: Any) -> None:
        raise _Stopped

    signal.signal(signal.SIGPROF, stop)
    room = keep / "now"
    room.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        corpus = target.seeds(Path(place))
    good, seen, found = list[Files](), set[str](), set[str]()  # those that were read are parents more often
    told = {"files": 0, "read": 0, "refused": 0, "found": 0, "outcomes": 0, "corpus": 0, "process_s": 0.0, "slowest_s": 0.0, "peak_mb": 0.0, "last": ""}
    last_told, waiting = 0.0, [dict(entry) for entry in corpus]
    begun = time.process_time()
    while (spent := time.process_time() - begun) < seconds:
        fresh = bool(waiting)
        if waiting:
            files = waiting.pop()  # the seeds themselves come first
        else:
            files = dict(draw.choice(good if good and draw.random() < 0.7 else corpus))
            changed = draw.choice([n for n in files if Path(n).suffix in target.kinds])
            suffix = Path(changed).suffix
            others = [data for entry in corpus for n, data in entry.items() if Path(n).suffix == suffix]
            if name == "encodings" and draw.random() < 0.8:
                others = [data for entry in corpus for n, data in entry.items() if n == changed]
            structured, plain = mutants.MUTATORS[target.kinds[suffix]]
            for _ in range(draw.choice([1, 1, 1, 2, 3])):
                files[changed] = (structured if draw.random() < 0.9 else plain)(files[changed], others, draw)
        if name == "encodings":  # what is no JSON is none of the decoder's
            try:
                json.loads(next(iter(files.values())))
            except (ValueError, RecursionError):
                continue
        for old in room.iterdir():
            if old.name not in files:
                old.unlink()
        for n, data in files.items():
            (room / n).write_bytes(data)
        path, how = room / next(iter(files)), draw.getrandbits(32)
        (keep / "how.json").write_text(json.dumps({"path": path.name, "how": how}), encoding="utf-8")
        outcome, wrong, trace, took, peak = _once(target, path, how)
        if wrong.startswith(("slow", "large")):  # once more: a collection of garbage or a first import is not the parser's
            outcome, wrong, trace, took, peak = _once(target, path, how)
        told["files"] += 1
        told["read" if outcome.startswith("read") else "refused"] += 1
        told["slowest_s"], told["peak_mb"] = max(told["slowest_s"], round(took, 3)), max(told["peak_mb"], round(peak / 1e6, 1))
        kind = re.sub(r"\d+", "#", wrong)[:100]
        if wrong and kind not in found:
            found.add(kind)
            told["found"] += 1
            spot = keep / f"found_{seed}_{len(found)}"
            shutil.copytree(room, spot, dirs_exist_ok=True)
            (spot / "why.txt").write_text(f"{wrong}\nhow = {how}\n{trace}", encoding="utf-8", errors="backslashreplace")
        elif not wrong and (fresh or outcome not in seen) and sum(map(len, files.values())) < 200_000 and took < 0.2:
            if outcome.startswith("read"):
                good.append(files)
            if not fresh:
                corpus.append(files)
        seen.add(outcome)
        if time.process_time() - last_told > 1.0:
            last_told = time.process_time()
            told |= {"process_s": round(spent, 1), "outcomes": len(seen), "corpus": len(corpus), "last": outcome}
            (keep / "status.tmp").write_text(json.dumps(told), encoding="utf-8")
            (keep / "status.tmp").replace(keep / "status.json")
    told |= {"process_s": round(time.process_time() - begun, 1), "outcomes": len(seen), "corpus": len(corpus)}
    (keep / "status.json").write_text(json.dumps(told), encoding="utf-8")


def run(name: str, seconds: float, seed: int, keep: Path) -> dict[str, Any]:
    """`work` in processes of its own, started again when one dies; the sums of what they told."""
    total: dict[str, Any] = {"parser": name, "files": 0, "read": 0, "refused": 0, "found": 0, "died": 0, "process_s": 0.0, "slowest_s": 0.0, "peak_mb": 0.0, "outcomes": 0}
    keep.mkdir(parents=True, exist_ok=True)
    status = keep / "status.json"
    while total["process_s"] < seconds - 1:
        status.unlink(missing_ok=True)
        command = [sys.executable, __file__, name, "--seconds", str(seconds - total["process_s"]), "--seed", str(seed), "--keep", str(keep), "--work"]
        child = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        heard, when = "", time.monotonic()
        while child.poll() is None:
            time.sleep(0.5)
            now = status.read_text(encoding="utf-8") if status.exists() else ""
            if now != heard:
                heard, when = now, time.monotonic()
            if time.monotonic() - when > DEAD_AFTER_S:
                child.kill()
        told = json.loads(status.read_text(encoding="utf-8")) if status.exists() else {}
        for key in ("files", "read", "refused", "found", "process_s"):
            total[key] = round(total[key] + told.get(key, 0), 1)
        for key in ("slowest_s", "peak_mb", "outcomes"):
            total[key] = max(total[key], told.get(key, 0))
        if child.returncode != 0:
            total["died"] += 1
            if (keep / "now").exists():
                shutil.copytree(keep / "now", keep / f"died_{seed}", dirs_exist_ok=True)
                shutil.copy(keep / "how.json", keep / f"died_{seed}")
            if not told or total["died"] > 50:
                raise SystemExit(f"{name}: the process dies; see {keep}")
        seed += 1
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parser", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=float, default=600.0, help="processor seconds per parser (default 600)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "silicast_fuzz", help="folder for what is found")
    parser.add_argument("--json", type=Path, help="add the figures to those already there (times and files summed)")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        return work(given.parser, given.seconds, given.seed, given.keep)
    for name in TARGETS if given.parser == "all" else [given.parser]:
        told = run(name, given.seconds, given.seed, given.keep / name)
        print(f"{name}: {told['files']:,.0f} files in {told['process_s']:.0f} s of processor time: {told['read']:,.0f} read, {told['refused']:,.0f} refused in {told['outcomes']} ways, "
              f"slowest {told['slowest_s']:.2f} s, {told['peak_mb']:.0f} MB; {told['found']:.0f} finds, {told['died']} deaths", flush=True)
        if given.json:
            kept = json.loads(given.json.read_text(encoding="utf-8")) if given.json.exists() else {}
            before = kept.get(name, {})
            added = {k: round(told[k] + before.get(k, 0), 1) for k in ("files", "read", "refused", "found", "died", "process_s")}
            most = {k: max(told[k], before.get(k, 0)) for k in ("slowest_s", "peak_mb", "outcomes")}
            given.json.write_text(json.dumps({**kept, name: {**told, **added, **most}}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
