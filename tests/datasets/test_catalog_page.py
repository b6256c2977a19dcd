"""docs/devices.md is made from the YAML; the catalogue's breadth; headline figures of the newer devices, typed by hand from their citations."""

import re
from pathlib import Path

import pytest

from silicast.datasets.catalog import hardware, keys
from silicast.datasets.catalog.table import HEAD, citations, markdown, page
from silicast.datasets.hardware import KINDS

ROOT = Path(__file__).parents[2]


def test_the_page_of_the_docs_is_fresh():
    wanted = page([hardware(key) for key in keys()], {key: citations(key) for key in keys()})
    written = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
    assert written == wanted, "run python -m silicast.datasets.catalog > docs/devices.md"


def test_every_device_has_one_row_with_all_its_citations():
    written = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
    for key in keys():
        rows = [line for line in written.splitlines() if line.startswith(f"| `{key}` |")]
        assert len(rows) == 1, key
        assert rows[0].count("|") - rows[0].count("\\|") == len(HEAD) + 1, key
        for text in citations(key).values():
            assert text.replace("|", "\\|") in rows[0], (key, text)


def test_all_families_and_more_than_sixty_devices():
    devices = [hardware(key) for key in keys()]
    assert len(devices) > 60
    assert {d.kind for d in devices} == set(KINDS)
    assert any(d.backing for d in devices)
    assert {d.array.dataflow for d in devices if d.array} >= {"ws", "rs", "flexible"}


def test_a_figure_nobody_published_is_an_empty_cell():
    row = markdown([hardware("raspberry_pi_4")], {"raspberry_pi_4": citations("raspberry_pi_4")}).splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[HEAD.index("power limit")] == ""
    assert re.search(r"l2 1 MiB;", cells[HEAD.index("memory, innermost first")])  # no bandwidth: none is published


# SI, typed from the cited documents and not from the YAML
@pytest.mark.parametrize(("key", "what", "value"), [
    ("a10", "float16", 125e12), ("a10", "units", 72), ("a30", "bandwidth", 933e9), ("a30", "tdp", 165.0), ("rtx_3080", "float32", 29.8e12),
    ("rtx_4080", "bandwidth", 716.8e9), ("rtx_a6000", "int8", 309.7e12), ("titan_rtx", "units", 72), ("gtx_titan_x", "bandwidth", 336.5e9),
    ("gtx_titan_x", "units", 24), ("h800_sxm", "float64", 1e12), ("h800_sxm", "float16", 989.5e12), ("jetson_agx_orin_64gb", "int8", 85e12),
    ("jetson_agx_xavier_32gb", "float16", 11e12), ("jetson_tx2", "float16", 1.33e12), ("jetson_nano", "bandwidth", 25.6e9),
    ("gaudi2", "bfloat16", 432e12), ("gaudi3", "float8", 1835e12), ("gaudi3", "tdp", 900.0), ("tpu_v5e", "bfloat16", 197e12), ("tpu_v5e", "bandwidth", 819e9),
    ("coral_edge_tpu", "int8", 4e12), ("sn40l", "bfloat16", 638e12), ("sn40l", "bandwidth", 1.6e12), ("groq_lpu_v1", "int8", 750e12),
    ("ipu_gc200", "float16", 250e12), ("wse_2", "float16", 7.5e15), ("wse_2", "area", 46225.0), ("spinnaker2", "units", 152), ("supernpu", "clock", 52.6e9),
    ("sigma", "area", 65.1), ("xeon_gold_6240", "bandwidth", 140.8e9), ("xeon_silver_4114", "float32", 10 * 32 * 2.2e9), ("epyc_9654", "units", 96),
    ("epyc_7763", "float64", 64 * 16 * 2.45e9), ("graviton3", "bandwidth", 307.2e9), ("a64fx", "float64", 3.3792e12), ("a64fx", "bandwidth", 1024e9),
    ("stm32f746", "clock", 216e6), ("stm32h743", "int8", 1.92e9), ("vega", "clock", 450e6), ("upmem_pim", "units", 2556), ("hbm_pim", "float16", 1.2288e12),
    ("aim_gddr6", "bfloat16", 1.024e12), ("pim_gpt", "bfloat16", 4.096e12), ("raspberry_pi_5", "bandwidth", 17.07e9), ("apple_m2", "bandwidth", 100e9),
])
def test_headline_figures(key, what, value):
    device = hardware(key)
    got = {"bandwidth": device.dram_bandwidth, "tdp": device.tdp_w, "units": device.units, "clock": device.clock_hz, "area": device.area_mm2}.get(what)
    assert (got if got is not None else device.matrix_rate[what]) == pytest.approx(value, rel=3e-3)


def test_rates_of_processing_in_memory_match_what_a_bank_can_feed():
    # one multiply-add (2 operations) per 2-byte value: operations per second equal bytes per second
    for key in ("hbm_pim", "aim_gddr6", "pim_gpt"):
        device = hardware(key)
        assert max(device.matrix_rate.values()) == pytest.approx(device.memory[0].bandwidth_bytes_per_s)
        assert device.memory[0].bandwidth_bytes_per_s > 3 * device.dram_bandwidth
