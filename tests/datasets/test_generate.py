"""Generated data sets: the same bytes whatever happens on the way, nothing silent about what is there."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets import generate as module
from silicast.datasets.errors import FormatError, InputError, UnknownNameError, VersionError
from silicast.datasets.families import MIX
from silicast.datasets.generate import GENERATED_TARGETS, WORKLOADS_PER_SHARD, Plan, generate, read_generated
from silicast.datasets.simulator import simulate

#: three shards of small networks
SMALL = {"count": 2 * 64 * 4 + 17, "seed": 3, "devices": ["t4", "a100", "xeon_8380", "zcu104"], "sampled": 1, "families": ["mlp"], "per_workload": 4}


def make(out: Path, workers: int = 1, **changes):
    said: list[str] = []
    manifest = generate(out, **{**SMALL, **changes}, workers=workers, say=said.append, progress=False)
    return manifest, said


def digests(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("generated") / "whole"
    manifest, said = make(out)
    assert said == []
    assert manifest.rows == SMALL["count"]
    return out


def test_count_is_honoured_exactly(whole, tmp_path):
    assert len(read_generated(whole)) == SMALL["count"]
    assert len(list((whole / "shards").glob("*.rows.parquet"))) == 3
    for count in (1, 4, 5):
        assert make(tmp_path / str(count), count=count)[0].rows == count


def test_count_is_kept_when_few_machines_can_run_a_family(tmp_path):
    manifest, said = make(tmp_path / "a", families=["mlp", "seq"], sampled=0, count=30, per_workload=6)
    assert manifest.rows == 30
    assert manifest.plan.per_workload == 3                    # of four machines one is an FPGA, which takes no seq
    assert said == ["only 3 machines can run every family: 3 a workload instead of 6"]


def test_two_workers_give_the_same_bytes(whole, tmp_path):
    make(tmp_path / "two", workers=2)
    assert digests(tmp_path / "two") == digests(whole)


def test_the_seed_decides(whole, tmp_path):
    make(tmp_path / "again", count=40)
    make(tmp_path / "other", count=40, seed=4)
    make(tmp_path / "third", count=40)
    assert digests(tmp_path / "again") == digests(tmp_path / "third")
    assert digests(tmp_path / "again")["shards/00000.rows.parquet"] != digests(tmp_path / "other")["shards/00000.rows.parquet"]


RUN = """
import sys, time
from silicast.datasets import generate as module
write = module._write_shard
def slowly(plan, folder, shard, pool):
    done = write(plan, folder, shard, pool)
    if shard == 1:
        (folder / "shards" / ".00002.rows.parquet.1.part").write_bytes(b"half")
        print("now", flush=True)
        time.sleep(60)
    return done
module._write_shard = slowly
module.generate(sys.argv[1], count={count}, seed={seed}, devices={devices}, sampled={sampled}, families={families}, per_workload={per_workload},
                workers=1, progress=False)
"""


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(whole, tmp_path):
    out = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", RUN.format(**SMALL), str(out)], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONSAFEPATH": "1"})
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
        process.stdout.close()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    assert (out / "shards" / ".00002.rows.parquet.1.part").exists()
    with pytest.raises(FormatError, match=r"not a finished data set \(manifest.json is missing\)"):
        read_generated(out)
    _, said = make(out)
    assert said == ["resuming: 2 of 3 shards are there"]
    assert digests(out) == digests(whole)                     # leftovers swept, too


def test_a_run_killed_before_its_plan_was_written_goes_on(whole, tmp_path):
    out = tmp_path / "early"
    out.mkdir()
    (out / ".plan.json.123.part").write_text("{")
    make(out)
    assert digests(out) == digests(whole)


def test_a_lost_shard_is_made_again_and_a_finished_set_is_left_alone(whole, tmp_path):
    out = tmp_path / "copy"
    make(out)
    before = (out / "shards/00000.rows.parquet").stat().st_mtime_ns
    assert make(out)[1] == ["resuming: 3 of 3 shards are there"]
    assert (out / "shards/00000.rows.parquet").stat().st_mtime_ns == before
    (out / "shards/00001.graphs.parquet").unlink()
    assert make(out)[1] == ["resuming: 2 of 3 shards are there"]
    assert digests(out) == digests(whole)


def test_damage_is_found_and_mended(whole, tmp_path):
    out = tmp_path / "damaged"
    make(out)
    place = out / "shards/00001.rows.parquet"
    place.write_bytes(place.read_bytes()[:-1] + b"!")
    with pytest.raises(FormatError, match=r"00001.rows.parquet: missing or not what the manifest says; generate the data set again"):
        read_generated(out)
    assert make(out)[1] == ["1 files are not what the manifest says: made again", "resuming: 2 of 3 shards are there"]
    assert digests(out) == digests(whole)
    place.unlink()
    with pytest.raises(FormatError, match=r"00001.rows.parquet: missing"):
        read_generated(out, verify=False)


@pytest.mark.parametrize("changes", [{"seed": 4}, {"count": 40}, {"devices": ["t4"]}, {"families": ["mlp", "seq"]}, {"sampled": 2}])
def test_another_plan_in_the_folder_is_refused(whole, changes):
    before = digests(whole)
    with pytest.raises(FormatError, match="another plan"):
        make(whole, **changes)
    assert digests(whole) == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(FormatError, match="is not empty and is not a data set; choose another folder"):
        make(tmp_path)
    with pytest.raises(FormatError, match="is a file"):
        make(tmp_path / "thesis.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(("changes", "error", "match"), [
    ({"families": ["cnn_plane"]}, UnknownNameError, "unknown workload family 'cnn_plane'; nearest: cnn_plain"),
    ({"devices": ["a1000"]}, UnknownNameError, "unknown device 'a1000'; nearest: a100"),
    ({"devices": ["zcu104"], "families": ["vit"]}, InputError, "no machine of the plan can run the family 'vit'"),
    ({"devices": ["a100", "a100_sxm"]}, InputError, "a100_sxm are named twice"),
    ({"count": 0}, InputError, "count must be an integer of at least 1, got 0"),
    ({"count": 2.5}, InputError, "count must be an integer"),
    ({"seed": -1}, InputError, "seed must be an integer of at least 0"),
    ({"sampled": -1}, InputError, "sampled must be"),
    ({"per_workload": 0}, InputError, "per_workload must be"),
])
def test_an_impossible_plan_leaves_nothing_behind(tmp_path, changes, error, match):
    with pytest.raises(error, match=match):
        make(tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_what_is_read_is_what_the_simulator_says(whole):
    table = read_generated(whole)
    assert set(table.targets) == set(GENERATED_TARGETS)
    questions = table.questions
    for row in (0, 100, 300, len(table) - 1):
        answer = simulate(questions.workloads[questions.workload_index[row]], questions.devices[questions.device_index[row]])
        if answer.infeasible:
            continue
        for name, value in answer.values.items():
            assert table.targets[name][row] == pytest.approx(value, rel=1e-12), name
    assert set(table.slices["device"]) >= {"t4", "a100_sxm", "sampled gpu", "sampled fpga"}
    assert set(table.slices["family"]) == {"mlp"}
    assert all(questions.workloads[questions.workload_index[i]].digest == table.groups[i] for i in range(len(table)))


def test_rows_that_do_not_fit_have_no_answer(whole):
    rows = pd.concat([pd.read_parquet(p) for p in sorted((whole / "shards").glob("*.rows.parquet"))], ignore_index=True)
    table = read_generated(whole)
    unfit = (rows["infeasible"] != "").to_numpy()
    assert 0 < unfit.sum() < len(rows)
    assert rows.loc[unfit, "infeasible"].str.contains("overflows|no dataflow block").all()
    for values in table.targets.values():
        assert np.isnan(values[unfit]).all()
    assert np.isfinite(table.targets["latency_s"][~unfit]).all()
    assert len(table.answered("lut")) == int((~unfit & (rows["kind"] == "fpga")).sum())


def test_a_manifest_or_plan_that_is_not_one(whole, tmp_path):
    out = tmp_path / "spoiled"
    make(out, count=8)
    good = {name: (out / name).read_text() for name in ("manifest.json", "plan.json")}
    for name, document in good.items():
        for text in ("", "[]", "5", "{}", '{"format": "silicast-dataset/1"}', document[:-10], '{"format": "other"}'):
            (out / name).write_text(text)
            with pytest.raises(FormatError, match=r"damaged|expected format"):
                read_generated(out)
        (out / name).write_text(document)
    old = {**json.loads(good["manifest.json"]), "simulator_version": "0"}
    (out / "manifest.json").write_text(json.dumps(old))
    with pytest.raises(VersionError, match="made by simulator version 0"):
        read_generated(out)
    with pytest.raises(FormatError, match="not a finished data set"):
        read_generated(tmp_path / "nowhere")


def test_the_plan_in_numbers():
    plan = Plan(0, 1000, 6, tuple(MIX), ("t4",), 0)
    assert plan.workloads == 167                              # 166.7 workloads of 6 machines
    assert plan.shards == 3                                   # of 64 each
    assert WORKLOADS_PER_SHARD == 64
    pool = Plan(5, 1, 1, ("mlp",), ("t4", "xeon_8380"), 3).pool()
    assert [d.kind for d in pool] == ["gpu", "cpu", "gpu", "gpu", "gpu", "cpu", "cpu", "cpu"]
    assert module.FORMAT == "silicast-dataset/1"
