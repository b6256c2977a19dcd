"""Cores: impossible ones are refused, the catalogue is cited throughout, sampled ones are valid and repeat."""

from dataclasses import replace

import numpy as np
import pytest

from silicast.datasets.catalog.cores import core, core_keys, read_core
from silicast.datasets.core import STAND_INS, CacheLevel, CoreColumns
from silicast.datasets.core_space import sample_core
from silicast.datasets.errors import FormatError, InputError, UnitError, UnknownNameError


@pytest.mark.parametrize("key", core_keys())
def test_every_catalogued_core_is_cited(key):
    c = core(key)
    assert c.key == key
    needed = {"clock", "memory.bandwidth", "pipeline.dispatch_width", "pipeline.window"}
    needed |= {f"units.{name}.{f}" for name in c.units for f in ("count", "latency_cycles")} | {f"caches.{level.name}.capacity" for level in c.caches}
    assert needed <= set(c.cited)
    assert all(len(text) > 10 for text in c.cited.values())


def test_catalogue_against_published_figures():
    """AMD SOG 19h 2.10.3; Intel optimisation manual; both as their documents say."""
    assert (core("zen3").dispatch_width, core("zen3").window) == (6, 256)
    assert (core("skylake_sp").dispatch_width, core("skylake_sp").window, core("skylake_sp").vector_bits) == (4, 224, 512)
    assert core("cortex_a53").in_order
    assert core("rocket_u54").in_order
    assert core("a64fx").line_bytes == 256


def test_what_nobody_published_is_named_and_stood_in():
    c = core("cortex_a72")
    assert {"memory_latency_s", "caches.l2.latency_cycles"} <= set(c.stood_in)
    assert c.latencies == (4, 4 * STAND_INS["latency_ratio"], STAND_INS["memory_latency_s"] * 1.5e9)


@pytest.mark.parametrize(("change", "says"), [
    ({"isa": "vax"}, "isa"), ({"dispatch_width": 0}, "dispatch_width"), ({"window": -1}, "window"), ({"units": {}}, "units"), ({"caches": ()}, "caches"),
    ({"clock_hz": float("nan")}, "clock_hz"), ({"memory_latency_s": 1e-12}, "memory_latency_s"),
    ({"caches": (CacheLevel("l1", 1e6, 4), CacheLevel("l2", 1e5, 12))}, "caches.l2"),
])
def test_an_impossible_core_names_the_field(change, says):
    with pytest.raises(InputError, match=says):
        replace(core("zen3"), **change)


TEXT = """
key: mine
name: Mine
isa: riscv
sources: {ds: "my manual"}
clock: {value: 1, unit: GHz, source: ds}
pipeline: {dispatch_width: 1, window: 0, frontend_cycles: 3, source: ds}
units:
  int: {count: 1, latency_cycles: 1, source: ds}
  add: {count: 1, latency_cycles: 4, source: ds}
  mul: {count: 1, latency_cycles: 4, source: ds}
  div: {count: 1, latency_cycles: 20, interval_cycles: 20, source: ds}
  load: {count: 1, latency_cycles: 2, source: ds}
  store: {count: 1, latency_cycles: 1, source: ds}
  branch: {count: 1, latency_cycles: 1, source: ds}
caches:
  - {name: l1, capacity: {value: 16, unit: KiB, source: ds}, latency_cycles: 2, ways: 4, source: ds}
memory: {bandwidth: {value: 1, unit: GB/s, source: ds}}
"""


def test_a_core_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT, encoding="utf-8")
    mine = core(path)
    assert mine.caches[0].capacity_bytes == 16384
    assert "fma" not in mine.units
    assert mine.cited["units.add.count"] == "my manual"


@pytest.mark.parametrize(("old", "new", "error", "says"), [
    ("unit: GHz", "unit: GB", UnitError, "clock"),
    ("source: ds}\ncaches", "source: nobody}\ncaches", FormatError, "units.branch.source"),
    ("window: 0", "window: 0.5", FormatError, "pipeline.window"),
    ("window: 0, ", "", FormatError, "missing window"),
    ("ways: 4", "banks: 4", FormatError, "unknown field banks"),
    ("isa: riscv", "isa: [", FormatError, "not YAML"),
])
def test_a_faulty_file_names_file_and_field(old, new, error, says):
    assert old in TEXT
    with pytest.raises(error, match=says) as caught:
        read_core(TEXT.replace(old, new), "mine.yaml")
    assert "mine.yaml" in str(caught.value)


def test_unknown_cores_name_the_nearest():
    with pytest.raises(UnknownNameError, match="zen3"):
        core("zen33")


def test_sampled_cores_are_valid_distinct_and_repeat():
    known = [core(key) for key in core_keys()]
    first, again = ([sample_core(np.random.default_rng(s), known) for s in range(150)] for _ in range(2))
    assert first == again
    assert len({c.key for c in first}) == 150
    assert 10 < sum(c.in_order for c in first) < 60
    assert len(CoreColumns.of(first)) == 150
    with pytest.raises(InputError, match="no core"):
        sample_core(np.random.default_rng(0), [])
