"""What every frontend keeps: read twice alike, count as by hand, name what it does not know, refuse what is made to hurt.

A frontend joins with a file in `tests/contracts/frontends/` that holds `CASES`, a list of mappings:

    suffix     of the files, as in `READERS`
    good       folder -> path of a well-formed file
    flops      of that file, counted by hand
    arguments  of `read`, optional
    unknown    folder -> (path, pattern): a file with an operator nobody knows, and what the error must say: its name and path
    hostile    name -> (folder -> path): files that must be refused, in one line
    harmless   name -> (folder -> path): files that look alike and must be read, optional

Hostile and harmless files are read in a process of their own: at most a second of processor time each, and 500 MB in all.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from silicast.datasets.errors import InputError
from silicast.datasets.frontends import READERS, read
from silicast.datasets.workload import Workload

MOST_SECONDS, MOST_BYTES = 1.0, 500e6

PROBE = """
import json, resource, sys, time
from silicast.datasets.errors import SilicastError
from silicast.datasets.frontends import read
def peak():
    try:  # the kernel carries the parent's peak into ru_maxrss of a program it starts; VmHWM is this process's own
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
most, good, arguments, *files = json.loads(sys.stdin.read())
read(good, **arguments)  # libraries are loaded
told = []
for file in files:
    took = []
    while not took or (min(took) > most and len(took) < 3):  # a busy machine takes longer now and then, a bomb each time
        began = time.process_time()
        try:
            read(file, **arguments)
            said = ""
        except SilicastError as error:
            said = str(error)
        except BaseException as error:
            said = f"CRASH {type(error).__name__}: {error}"
        took.append(time.process_time() - began)
    told.append((said, min(took), peak()))
print(json.dumps(told))
"""


def _cases() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in sorted((Path(__file__).parent / "frontends").glob("[a-z]*.py")):
        spec = importlib.util.spec_from_file_location(f"frontend_case_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += [{"id": f"{path.stem}{i or ''}", "arguments": {}, "hostile": {}, "harmless": {}, **case} for i, case in enumerate(module.CASES)]
    return found


CASES = _cases()
every = pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])


@every
def test_reads_twice_alike_and_without_cycles(case, tmp_path):
    path = case["good"](tmp_path)
    assert path.suffix == case["suffix"]
    first, second = (read(path, **case["arguments"]) for _ in range(2))
    assert isinstance(first, Workload)
    assert first.digest == second.digest
    assert all(tensor.producer < reader for tensor in first.tensors for reader in tensor.consumers)
    assert Workload.from_json(first.to_json()) == first


@every
def test_counts_as_by_hand(case, tmp_path):
    assert read(case["good"](tmp_path), **case["arguments"]).flops == pytest.approx(case["flops"], rel=1e-12)


@every
def test_the_unknown_is_named_with_its_path(case, tmp_path):
    if "unknown" not in case:
        pytest.skip("this format knows no operators by name")
    path, pattern = case["unknown"](tmp_path)
    with pytest.raises(InputError, match=pattern) as caught:
        read(path, **case["arguments"])
    assert str(path) in str(caught.value)


@every
def test_every_truncation_is_refused_or_read(case, tmp_path):
    good = case["good"](tmp_path)
    data = good.read_bytes()
    cut = tmp_path / f"cut{good.suffix}"
    for length in range(0, len(data), max(1, len(data) // 60)):
        cut.write_bytes(data[:length])
        with suppress(InputError):
            read(cut, **case["arguments"])


@every
def test_hostile_files(case, tmp_path):
    makers = {**case["hostile"], **case["harmless"]}
    files = []
    for number, maker in enumerate(makers.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        files.append(str(maker(folder)))
    good = str(case["good"](tmp_path))
    done = subprocess.run([sys.executable, "-c", PROBE], input=json.dumps([MOST_SECONDS, good, case["arguments"], *files]), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"the reader died: {done.stderr[-2000:]}"
    wrong = []
    for name, file, (said, seconds, peak) in zip(makers, files, json.loads(done.stdout), strict=True):
        if said.startswith("CRASH") or "\n" in said or len(said) > 2000:
            wrong.append(f"{name}: {said[:300]!r}")
        if bool(said) is not (name in case["hostile"]):
            wrong.append(f"{name}: {'refused' if said else 'read'} ({said[:200]})")
        if said and not re.search(re.escape(Path(file).name), said):
            wrong.append(f"{name}: the error does not name the file: {said[:200]}")
        if seconds > MOST_SECONDS or peak > MOST_BYTES:
            wrong.append(f"{name}: {seconds:.2f} s, {peak / 1e6:.0f} MB")
    assert not wrong, "\n".join(wrong)


def test_every_reader_has_a_case():
    missing = set(READERS) - {case["suffix"] for case in CASES} - (set() if importlib.util.find_spec("xdsl") else {".mlir", ".stablehlo"})  # these need an extra
    assert not missing, f"readers without a contract case: {', '.join(sorted(missing))}"
