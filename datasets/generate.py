"""Unlimited labelled data: sampled workloads on catalogue and sampled machines, answered by the reference simulator.

A data set is a folder:

    out/
      plan.json                     what is to be made: seed, count, families, the machines themselves
      shards/00000.rows.parquet     one row per (workload, machine): digests, family, targets in SI, or why it does not fit
      shards/00000.graphs.parquet   the shard's workloads as JSON
      manifest.json                 written last: digests (SHA-256) of every file

A shard's content depends on the plan and its number alone, and a file appears only when it is whole. So a run that was killed goes on
where it stopped, and ends with the same bytes as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from . import catalog
from .catalog.drawn import DRAWN
from .devices import sample_device
from .errors import FormatError, InputError, TableError, UnknownNameError, VersionError
from .families import FAMILIES, MIX, sample
from .hardware import KINDS, Hardware
from .simulator import SIMULATOR_VERSION, simulate_many
from .table import GraphQuestions, Table
from .workload import Workload

FORMAT = "silicast-dataset/1"
WORKLOADS_PER_SHARD = 64
#: families small enough to be laid out on an FPGA, weights on chip
FABRIC_FAMILIES = ("mlp",)
#: the targets of a generated row; NaN where the machine has no such quantity
GENERATED_TARGETS = ("latency_s", "energy_j", "power_w", "memory_bytes", "dram_bytes", "utilization", "cycles", "interval_cycles",
                     "lut", "ff", "dsp", "bram_18k", "uram", "area_mm2")


@dataclass(frozen=True)
class Plan:
    """What a data set is made of. `count` rows; every workload meets `per_workload` machines of the pool.

    `unrelated`: devices no machine is sampled around, because they will be held out and a close relative would give them away.
    """

    seed: int
    count: int
    per_workload: int
    families: tuple[str, ...]
    devices: tuple[str, ...]
    sampled: int
    unrelated: tuple[str, ...] = ()
    simulator_version: str = SIMULATOR_VERSION

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("count", 1), ("per_workload", 1), ("sampled", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"generate: {name} must be an integer of at least {least}, got {value!r}")
        for family in self.families:
            if family not in FAMILIES:
                raise UnknownNameError("workload family", family, FAMILIES)

    @property
    def workloads(self) -> int:
        """How many workloads give `count` rows."""
        return -(-self.count // self.per_workload)

    @property
    def shards(self) -> int:
        """How many shards they make."""
        return -(-self.workloads // WORKLOADS_PER_SHARD)

    def pool(self) -> list[Hardware]:
        """The machines: catalogue ones in the given order, then `sampled` around each kind that is there."""
        real = [catalog.hardware(name) for name in self.devices]
        rng = np.random.default_rng([self.seed, 2**31])
        apart = {catalog.hardware(name).key for name in self.unrelated}
        bases = [d for d in real if d.key not in apart]
        kinds = [k for k in KINDS if any(d.kind == k for d in bases)]
        return real + [sample_device(rng, kind, [d for d in bases if d.kind == kind]) for kind in kinds for _ in range(self.sampled)]


@dataclass(frozen=True)
class Manifest:
    """A finished data set: its plan, its rows, and file -> SHA-256."""

    folder: Path
    plan: Plan
    rows: int
    feasible: int
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """16 hex digits over all files."""
        return hashlib.sha256(json.dumps(self.files, sort_keys=True).encode()).hexdigest()[:16]


def generate(out: str | Path, *, count: int, seed: int = 0, devices: Sequence[str] | None = None, sampled: int = 8,
             families: Sequence[str] | None = None, per_workload: int = 6, unrelated: Sequence[str] = (), workers: int | None = None,
             say: Callable[[str], None] = print, progress: bool = True) -> Manifest:
    """Makes (or finishes) the data set in `out`: `count` labelled rows, in the same bytes whatever `workers` is.

    `devices`: those of `catalog/drawn.py` unless given. `sampled` machines are made up around each kind of device, none of them around the `unrelated` ones (which will be held out).
    Raises InputError for an impossible plan, FormatError when `out` holds something else or another plan.
    """
    asked = Plan(seed, count, per_workload, tuple(families or MIX), tuple(devices or DRAWN), sampled, tuple(unrelated))
    plan = _possible(asked)
    if plan != asked:
        say(f"only {plan.per_workload} machines can run every family: {plan.per_workload} a workload instead of {asked.per_workload}")
    folder = Path(out)
    _claim(folder, plan)
    damaged = _drop_damaged(folder)
    if damaged:
        say(f"{damaged} files are not what the manifest says: made again")
    todo = [i for i in range(plan.shards) if not all((folder / name).exists() for name in _shard_files(i))]
    if len(todo) < plan.shards:
        say(f"resuming: {plan.shards - len(todo)} of {plan.shards} shards are there")
    workers = min(workers or os.cpu_count() or 1, max(len(todo), 1))
    with _bar(len(todo), progress) as step:
        for _ in _each(plan, folder, todo, workers):
            step()
    return _finish(folder, plan)


def _each(plan: Plan, folder: Path, todo: Sequence[int], workers: int) -> Iterable[int]:
    if workers == 1:
        pool = plan.pool()
        for i in todo:
            yield _write_shard(plan, folder, i, pool)
        return
    with _one_thread(), ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(plan,)) as executor:
        jobs = [executor.submit(_work, folder, i) for i in todo]
        try:
            for job in as_completed(jobs):
                yield job.result()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _one_thread() -> Iterator[None]:
    """Workers inherit one numerical thread each: the machine is full already."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {n: os.environ.get(n) for n in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_WORKER: dict[str, Any] = {}  # a worker process's plan and pool, set once when it starts


def _start_worker(plan: Plan) -> None:
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    _WORKER.update(plan=plan, pool=plan.pool())


def _leave_with(parent: int) -> None:
    """Ends this worker when the process that started it is gone, killed say: nobody would ever collect its work."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _work(folder: Path, shard: int) -> int:
    return _write_shard(_WORKER["plan"], folder, shard, _WORKER["pool"])


def _shard_files(shard: int) -> tuple[str, str]:
    return f"shards/{shard:05d}.graphs.parquet", f"shards/{shard:05d}.rows.parquet"


def _write_shard(plan: Plan, folder: Path, shard: int, pool: Sequence[Hardware]) -> int:
    first = shard * WORKLOADS_PER_SHARD
    number = min(WORKLOADS_PER_SHARD, plan.workloads - first)
    rng = np.random.default_rng([plan.seed, shard])
    graphs: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for i in range(number):
        workload, machines = _draw(plan, rng, pool)
        left = plan.count - (first + i) * plan.per_workload
        graphs.setdefault(workload.digest, json.dumps(workload.to_json(), separators=(",", ":")))
        rows += [_row(workload, s.hardware, s.values, s.infeasible) for s in simulate_many(workload, machines[:left])]
    frames = (pd.DataFrame({"workload": list(graphs), "json": list(graphs.values())}), pd.DataFrame(rows))
    for name, frame in zip(_shard_files(shard), frames, strict=True):
        place = folder / name
        part = place.with_name(f".{place.name}.{os.getpid()}.part")
        frame.to_parquet(part, compression="zstd", index=False)
        os.replace(part, place)
    return shard


def _draw(plan: Plan, rng: np.random.Generator, pool: Sequence[Hardware]) -> tuple[Workload, list[Hardware]]:
    weights = np.array([MIX[f] for f in plan.families])
    family = plan.families[rng.choice(len(weights), p=weights / weights.sum())]
    workload = sample(family, rng)
    able = _able(family, pool)
    chosen = rng.choice(len(able), size=plan.per_workload, replace=False)
    return workload, [pool[able[c]] for c in chosen]


def _able(family: str, pool: Sequence[Hardware]) -> list[int]:
    return [i for i, d in enumerate(pool) if not d.fabric or family in FABRIC_FAMILIES]


def _possible(plan: Plan) -> Plan:
    """The plan with no more machines a workload than can run each family, so that `count` is kept.

    Raises InputError before anything is written when a family has none, or when two machines of the pool share a key.
    """
    pool = plan.pool()
    keys = [d.key for d in pool]
    twice = sorted({k for k in keys if keys.count(k) > 1})
    if twice:
        raise InputError(f"generate: the devices {', '.join(twice)} are named twice; name each once")
    able = {family: len(_able(family, pool)) for family in plan.families}
    for family, number in able.items():
        if not number:
            raise InputError(f"generate: no machine of the plan can run the family {family!r}; FPGAs take only {', '.join(FABRIC_FAMILIES)}")
    return replace(plan, per_workload=min(plan.per_workload, *able.values()))


def _row(workload: Workload, hardware: Hardware, values: dict[str, float], infeasible: str) -> dict[str, Any]:
    return {"workload": workload.digest, "family": workload.family, "hardware": hardware.key, "hardware_digest": hardware.digest, "kind": hardware.kind,
            **{t: values.get(t, np.nan) for t in GENERATED_TARGETS}, "infeasible": infeasible}


def _claim(folder: Path, plan: Plan) -> None:
    """Makes the folder ours: writes the plan, or checks that the plan there is the same; sweeps up half-written files."""
    document = {"format": FORMAT, **asdict(plan), "pool": [d.to_json() for d in plan.pool()]}
    text = json.dumps(document, indent=1)
    place = folder / "plan.json"
    if place.exists():
        if place.read_text(encoding="utf-8") != text:
            raise FormatError(f"{folder}: holds a data set made from another plan (seed, count, devices, families or version differ); choose another folder")
    elif folder.exists() and not folder.is_dir():
        raise FormatError(f"{folder}: is a file; expected a folder, or a name for a new one")
    elif folder.exists() and any(not p.match(".plan.json.*.part") for p in folder.iterdir()):
        raise FormatError(f"{folder}: exists, is not empty and is not a data set; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        _replace(place, text)  # first of all: a run killed after it goes on, one killed before it left only a part
    (folder / "shards").mkdir(exist_ok=True)
    for part in (*folder.glob(".*.part"), *(folder / "shards").glob(".*.part")):
        part.unlink()


def _drop_damaged(folder: Path) -> int:
    """Removes the shard files of a finished data set that are not what its manifest says; how many."""
    try:
        files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0  # unfinished: shards appear whole or not at all
    damaged = [folder / name for name, digest in files.items() if name.startswith("shards/") and (folder / name).is_file()
               and hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest]
    for place in damaged:
        place.unlink()
    return len(damaged)


def _finish(folder: Path, plan: Plan) -> Manifest:
    names = ["plan.json", *(name for i in range(plan.shards) for name in _shard_files(i))]
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    rows = pd.concat([pd.read_parquet(folder / _shard_files(i)[1], columns=["infeasible"]) for i in range(plan.shards)])
    manifest = Manifest(folder, plan, len(rows), int((rows["infeasible"] == "").sum()), files)
    _replace(folder / "manifest.json", json.dumps({"format": FORMAT, "rows": manifest.rows, "feasible": manifest.feasible, "digest": manifest.digest,
                                                   "simulator_version": plan.simulator_version, "files": files}, indent=1))
    return manifest


def _replace(place: Path, text: str) -> None:
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, place)


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr; a plain no-op when not shown or nothing is left to do."""
    if not shown or total == 0:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TextColumn("shards"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def read_generated(folder: str | Path, *, verify: bool = True) -> Table:
    """A finished data set as a table: graph questions, every generated target, grouped by workload, sliced by family, device and kind.

    Rows that do not fit their machine keep NaN targets. `device` slices name sampled machines by kind. Raises FormatError for a
    missing, unfinished or damaged data set, VersionError for one made by another simulator version.
    """
    place = Path(folder)
    try:
        manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
        plan = json.loads((place / "plan.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FormatError(f"{place}: not a finished data set ({Path(str(error.filename)).name} is missing); run `silicast generate` on it again") from None
    except (ValueError, OSError) as error:
        raise FormatError(f"{place}: damaged manifest or plan ({error})") from None
    for name, document, wanted in (("manifest.json", manifest, {"simulator_version": str, "digest": str, "files": dict}),
                                   ("plan.json", plan, {"pool": list, "devices": list})):
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            got = document.get("format") if isinstance(document, dict) else type(document).__name__
            raise FormatError(f"{place / name}: expected format {FORMAT!r}, got {got!r}")
        for key, kind in wanted.items():
            if not isinstance(document.get(key), kind):
                raise FormatError(f"{place / name}: damaged ({key} is missing or not a {kind.__name__}); generate the data set again")
    if manifest["simulator_version"] != SIMULATOR_VERSION:
        raise VersionError(f"{place}: made by simulator version {manifest['simulator_version']}, this is {SIMULATOR_VERSION}; generate it again")
    for name, digest in manifest["files"].items():
        path = place / name
        if not path.exists() or (verify and hashlib.sha256(path.read_bytes()).hexdigest() != digest):
            raise FormatError(f"{path}: missing or not what the manifest says; generate the data set again")
    devices = [Hardware.from_json(d) for d in plan["pool"]]
    numbers = range(sum(name.endswith(".rows.parquet") for name in manifest["files"]))
    rows = pd.concat([pd.read_parquet(place / _shard_files(i)[1]) for i in numbers], ignore_index=True)
    graphs = pd.concat([pd.read_parquet(place / _shard_files(i)[0]) for i in numbers], ignore_index=True).drop_duplicates("workload")
    if rows.empty:
        raise TableError(f"{place}: the data set has no rows")
    workloads = tuple(Workload.from_json(json.loads(text)) for text in graphs["json"])
    workload_at = {digest: i for i, digest in enumerate(graphs["workload"])}
    device_at = {d.key: i for i, d in enumerate(devices)}
    questions = GraphQuestions(workloads, tuple(devices), rows["workload"].map(workload_at).to_numpy(np.int64), rows["hardware"].map(device_at).to_numpy(np.int64))
    fits = (rows["infeasible"] == "").to_numpy()
    targets = {t: np.where(fits, rows[t].to_numpy(np.float64), np.nan) for t in GENERATED_TARGETS}
    real = set(plan["devices"])
    named = rows["hardware"].where(rows["hardware"].isin({catalog.hardware(n).key for n in real}), "sampled " + rows["kind"])
    slices = pd.DataFrame({"family": rows["family"], "device": named, "kind": rows["kind"]})
    return Table(questions, targets, rows["workload"].to_numpy(object), slices, f"{place.name} ({manifest['digest']}), simulated:{SIMULATOR_VERSION}")
