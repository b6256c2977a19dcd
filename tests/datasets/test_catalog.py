"""The catalogue: every file sound and cited, names found, users' files read, faults told in one line."""

import doctest
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from silicast.datasets import catalog
from silicast.datasets.catalog import hardware, keys, normal, read_device, read_text
from silicast.datasets.catalog.document import FIELDS
from silicast.datasets.errors import FormatError, InputError, UnitError, UnknownNameError
from silicast.datasets.hardware import Hardware

ROOT = Path(__file__).parents[2]
DOC = ROOT / "docs" / "hardware.md"

GOOD = """
key: toy
name: Toy
kind: npu
sources: {ds: "Toy data sheet, 2025"}
clock: {value: 1, unit: GHz, source: ds}
tdp: {value: 5, unit: W, source: ds}
matrix_rate: {int8: {value: 2, unit: Top/s, source: ds}}
memory:
  - {name: sram, capacity: {value: 1, unit: MiB, source: ds}, read_energy: {value: 1, unit: pJ/bit, source: user}}
  - {name: dram, capacity: {value: 1, unit: GiB, source: ds}, bandwidth: {value: 8, unit: GB/s, source: ds}}
"""

#: a text that doubles at every line: harmless while read, unbounded if printed
BOMB = "notes: [&a0 [x, x]" + "".join(f", &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)) + "]\nkey: *a39"


def raw(key: str) -> dict:
    return yaml.safe_load((ROOT / "datasets" / "catalog" / f"{key}.yaml").read_text(encoding="utf-8"))


def figures(data, path=""):
    """(path, figure) of every figure in a device file."""
    if isinstance(data, dict):
        if "value" in data:
            yield path, data
            return
        for name, value in data.items():
            if name != "sources":
                yield from figures(value, f"{path}.{name}".lstrip("."))
    elif isinstance(data, list):
        for value in data:
            if isinstance(value, dict):
                yield from figures(value, f"{path}.{value['name']}")


# every device of the catalogue

@pytest.mark.parametrize("key", keys())
def test_every_file_is_sound_and_every_figure_cited(key):
    device, data = hardware(key), raw(key)
    assert device.key == key == data["key"]
    assert set(data) <= set(FIELDS)
    given = dict(figures(data))
    assert set(device.cited) == set(given)
    text = (ROOT / "datasets" / "catalog" / f"{key}.yaml").read_text(encoding="utf-8").partition("\nclock:")[2]
    for path, figure in given.items():
        assert set(figure) <= {"value", "unit", "source", "note"}, path
        source = figure["source"]
        assert source in data["sources"] or source == "derived", path
        if source == "derived":
            # the arithmetic: numbers, and at least one source it starts from
            assert re.search(r"\d", figure["note"]), path
            assert any(re.search(rf"\b{name}\b", figure["note"]) for name in data["sources"]), (path, figure["note"])
            assert any(citation in device.cited[path] for citation in data["sources"].values()), path
        else:
            assert device.cited[path].startswith(data["sources"][source]), path
    for name, citation in data["sources"].items():
        assert len(citation) > 20, citation
        assert re.search(rf"\b{name}\b", text), f"source {name} is used by no figure"
    assert device.year
    assert device.vendor
    assert device.aliases


@pytest.mark.parametrize("key", keys())
def test_every_device_survives_json_with_its_digest(key):
    device = hardware(key)
    again = Hardware.from_json(json.loads(json.dumps(device.to_json())))
    assert again == device
    assert again.digest == device.digest


def test_no_name_belongs_to_two_devices():
    names = Counter(name for key in keys() for name in {normal(key), *map(normal, hardware(key).aliases)})
    assert [name for name, count in names.items() if count > 1] == []


def test_devices_differ():
    digests = Counter(hardware(key).digest for key in keys())
    assert max(digests.values()) == 1


#: Blackwell Ultra gives up INT8 for FP4: a fifteenth of the FP16 rate, by its data sheet
SLOW_INTEGERS = {("b300_sxm", "int8"), ("gb300", "int8")}


@pytest.mark.parametrize("key", keys())
def test_figures_agree_with_each_other(key):
    device = hardware(key)
    assert device.dram.capacity_bytes == max(level.capacity_bytes for level in device.memory)
    speeds = [level.bandwidth_bytes_per_s for level in device.memory if level.bandwidth_bytes_per_s]
    assert speeds == sorted(speeds, reverse=True), "an inner level is not slower than an outer one"
    for narrow, wide in (("float32", "float64"), ("float16", "float32"), ("int8", "float16"), ("int4", "int8"), ("float8", "float16"), ("float4", "float8")):
        if narrow in device.matrix_rate and wide in device.matrix_rate and (key, narrow) not in SLOW_INTEGERS:
            assert device.matrix_rate[narrow] >= device.matrix_rate[wide]
    if device.array and device.matrix_rate:
        # vendors round: 92 Top/s is 91.75, 123 is 123.2, 275 is 275.25
        array = 2 * device.array.rows * device.array.cols * device.array.count * device.clock_hz
        # (formats of half the width may run twice as fast)
        assert any(rate == pytest.approx(array, rel=0.01) for rate in device.matrix_rate.values())
        assert max(device.matrix_rate.values()) <= 2.01 * array


# Independent of the YAML: typed by hand from the vendors' data sheets and the papers, in SI.
HEADLINES = [
    # key, field, value
    ("a100_sxm", "float16", 312e12), ("a100_sxm", "bandwidth", 2039e9), ("a100_sxm", "tdp", 400.0), ("a100_sxm", "units", 108),
    ("a100_sxm_40gb", "bandwidth", 1555e9), ("a100_pcie_40gb", "tdp", 250.0),
    ("h100_sxm", "float8", 1979e12), ("h100_sxm", "float16", 989.4e12), ("h100_sxm", "bandwidth", 3.35e12), ("h100_sxm", "units", 132),
    ("h200_sxm", "bandwidth", 4.8e12), ("h200_sxm", "float16", 989.5e12),
    ("b200_sxm", "float4", 9e15), ("b200_sxm", "float16", 2.25e15), ("gb200", "float8", 5e15), ("gb200", "bandwidth", 8e12),
    ("l4", "float16", 121e12), ("l4", "bandwidth", 300e9), ("l4", "tdp", 72.0), ("l40s", "bandwidth", 864e9), ("l40s", "tdp", 350.0),
    ("v100_sxm", "float16", 125e12), ("v100_pcie", "float32", 14e12), ("p100_pcie", "bandwidth", 732e9), ("p100_pcie", "float32", 9.3e12),
    ("p4", "float32", 5.5e12), ("t4", "float16", 65e12), ("t4", "tdp", 70.0), ("a40", "float16", 149.7e12), ("a40", "bandwidth", 696e9),
    ("rtx_4090", "float32", 82.6e12), ("rtx_4090", "bandwidth", 1008e9), ("rtx_4070", "float32", 29.15e12), ("rtx_4070", "tdp", 200.0),
    ("mi250x", "float16", 383e12), ("mi300x", "float16", 1307.4e12), ("mi300x", "bandwidth", 5.3e12), ("mi300x", "units", 304),
    ("tpu_v4", "bfloat16", 275e12), ("tpu_v4", "bandwidth", 1200e9), ("tpu_v1", "int8", 92e12), ("tpu_v1", "tdp", 75.0), ("tpu_v1", "idle", 28.0),
    ("xeon_8380", "tdp", 270.0), ("xeon_8380", "bandwidth", 204.8e9), ("raspberry_pi_4", "bandwidth", 12.8e9), ("eyeriss", "int16", 67.2e9),
    ("eyeriss", "clock", 200e6), ("ethos_u55_256", "int8", 256e9), ("alveo_u250", "dsp", 12288), ("zcu104", "lut", 230400), ("zcu104", "bram_18k", 624),
]


@pytest.mark.parametrize(("key", "what", "value"), HEADLINES)
def test_headline_figures(key, what, value):
    device = hardware(key)
    got = {"bandwidth": device.dram_bandwidth, "tdp": device.tdp_w, "idle": device.idle_w, "units": device.units, "clock": device.clock_hz}.get(what)
    if device.fabric and hasattr(device.fabric, what):
        got = getattr(device.fabric, what)
    assert (got if got is not None else device.matrix_rate[what]) == pytest.approx(value, rel=2e-4)


def test_the_zigzag_machine_has_the_energies_of_the_example():
    # picojoule per access and port width as the ZigZag 3.9.1 example gives them
    device = hardware("tpu_like")
    level = {m.name: m for m in device.memory}
    assert device.array is not None
    assert device.array.mac_j == pytest.approx(0.04e-12)
    assert level["rf"].read_j_per_byte == pytest.approx(0.095e-12)
    assert level["rf_out"].write_j_per_byte * 2 == pytest.approx(0.021e-12)
    assert level["sram"].read_j_per_byte * 256 == pytest.approx(416.16e-12)
    assert level["sram"].write_j_per_byte * 256 == pytest.approx(378.4e-12)
    assert level["dram"].read_j_per_byte * 8 == pytest.approx(700e-12)
    assert level["dram"].write_j_per_byte * 8 == pytest.approx(750e-12)
    assert level["sram"].bandwidth_bytes_per_s / device.clock_hz * 8 == 2048
    assert device.dram_bandwidth / device.clock_hz * 8 == 64


# names

@pytest.mark.parametrize(("name", "key"), [
    ("h100", "h100_sxm"), ("NVIDIA H100 80GB HBM3", "h100_sxm"), ("H100 SXM5", "h100_sxm"), ("h100-SXM", "h100_sxm"), ("a100", "a100_sxm"),
    ("A100-SXM4-80GB", "a100_sxm"), ("a100_sxm_80gb", "a100_sxm"), ("NVIDIA A100-PCIE-40GB", "a100_pcie_40gb"), ("b200", "b200_sxm"),
    ("MI300X", "mi300x"), ("AMD Instinct MI300X", "mi300x"), ("tpu-v4", "tpu_v4"), ("rpi4", "raspberry_pi_4"), ("u250", "alveo_u250"),
    ("Tesla V100-PCIE-32GB", "v100_pcie"), ("Tesla P100-PCIE-16GB", "p100_pcie"), ("Tesla P4", "p4"), ("Tesla T4", "t4"), ("TPU LIKE", "tpu_like"),
])
def test_names_as_people_write_them(name, key):
    assert hardware(name).key == key


@pytest.mark.parametrize(("name", "key"), [
    ("NVIDIA RTX3090", "rtx_3090"), ("3090 24GB", "rtx_3090"), ("AD102 RTX 4090", "rtx_4090"), ("GeForce RTX 3080 10 GB", "rtx_3080"), ("NVIDIA A100 40GB", "a100_sxm_40gb"),
    ("A100-PCIE 80 GB", "a100_pcie"), ("NVIDIA A100 PCIe 40GB", "a100_pcie_40gb"), ("A100 80G", "a100_sxm"), ("NVIDIA H200 141GB", "h200_sxm"), ("NVIDIA Tesla P100-PCIE-16GB", "p100_pcie"),
    ("NVIDIA T4 16 GB", "t4"), ("Qualcomm MSM8998 Snapdragon 835", "snapdragon_835"), ("SDM845 Snapdragon 845", "snapdragon_845"), ("Radeon Instinct MI100", "mi100"),
    ("Intel(R) Xeon(R) Gold 6240 CPU @ 2.60GHz", "xeon_gold_6240"), ("AMD EPYC 7763 64-Core Processor", "epyc_7763"), ("Apple M1 8-core GPU", "apple_m1"),
    ("NVIDIA GeForce RTX 4090", "rtx_4090"), ("NVIDIA L40S", "l40s"), ("NVIDIA H100 PCIe", "h100_pcie"), ("NVIDIA RTX A6000", "rtx_a6000"), ("NVIDIA B200", "b200_sxm"), ("A100", "a100_sxm"),
    ("RTX 6000", "quadro_rtx_6000"), ("NVIDIA RTX 6000 Ada Generation", "rtx_6000_ada"), ("RTX 6000 Ada", "rtx_6000_ada"), ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx_pro_6000_blackwell_server"),
    ("RTX PRO 6000", "rtx_pro_6000_blackwell"), ("RTX 3090 Ti", "rtx_3090_ti"), ("3090 Ti 24GB", "rtx_3090_ti"), ("NVIDIA GeForce RTX 4080 SUPER", "rtx_4080_super"), ("A10", "a10"), ("A10G", "a10g"),
    ("L40", "l40"), ("NVIDIA GH200 480GB", "gh200"), ("GH200", "gh200"), ("GH200 144GB", "gh200_144gb"), ("NVIDIA H100 NVL", "h100_nvl"), ("NVIDIA B300 SXM6 AC", "b300_sxm"), ("GB300", "gb300"),
    ("Tesla K40c", "tesla_k40"), ("Tesla K80", "tesla_k80"), ("Tesla V100-SXM2-16GB", "v100_sxm_16gb"), ("V100", "v100_sxm"), ("V100 16GB", "v100_sxm_16gb"), ("NVIDIA A800-SXM4-80GB", "a100_sxm"),
    ("Jetson Orin Nano", "jetson_orin_nano"), ("Jetson Orin NX 16GB", "jetson_orin_nx"), ("Jetson Orin", "jetson_agx_orin_64gb"), ("Jetson Xavier NX", "jetson_xavier_nx"), ("GTX 1080", "gtx_1080"),
    ("GTX 1080 Ti", "gtx_1080_ti"), ("NVIDIA A2", "a2"), ("NVIDIA H20", "h20"),
])
def test_names_as_tables_and_tools_write_them(name, key):
    assert hardware(name).key == key


@pytest.mark.parametrize("name", [
    "RTX 3090 Titan", "3090 Tie 24GB", "3090 24GB * 2", "RTX 3090 x 2", "2x A100", "A100-SXM4-80GB x 8", "NVIDIA A100-SXM4-80GB MIG 1g.10gb", "NVIDIA GeForce RTX 4070 Laptop GPU",  # other machines
    "GeForce RTX 3080 12GB", "H100 94GB", "Jetson AGX Orin 32GB", "A100 40GB 80GB", "NVIDIA GH200 320GB", "NVIDIA RTX A6000 24GB", "Xeon Gold 6240R",  # another memory, another part
    "Intel RTX 3090", "AMD A100", "Snapdragon 835 GPU", "Apple M1 CPU", "Apple M1 7-core GPU",  # another maker, kind or count of cores
    "RTX5090 3090", "EPYC7742 A100", "T4 A10", "L400", "A10M", "RTX 6000 Ampere", "M2 Mega", "GPU", "NVIDIA", "TPU", "80GB", "",
])
def test_names_that_are_another_machine_or_none(name):
    with pytest.raises(UnknownNameError):
        hardware(name)


def test_an_unknown_name_lists_neighbours_among_keys_and_aliases():
    with pytest.raises(UnknownNameError) as caught:
        hardware("h1000")
    assert "h100" in caught.value.nearest
    assert "\n" not in str(caught.value)
    with pytest.raises(UnknownNameError, match="NVIDIA H100 80GB HBM3"):
        hardware("NVIDIA H100 80GB HBM33")
    with pytest.raises(UnknownNameError):
        hardware("")


def test_a_key_costs_one_file(monkeypatch):
    read = []
    monkeypatch.setattr(catalog, "_device", lambda key: read.append(key) or "device")
    assert hardware("H100 SXM") == "device"
    assert read == ["h100_sxm"]


def test_a_device_is_read_once():
    assert hardware("h100") is hardware("h100_sxm")


def test_importing_the_catalogue_loads_nothing_heavy():
    code = "import sys, silicast.datasets.catalog as c; c.hardware('h100'); print([m for m in ('numpy', 'pandas', 'torch', 'onnx') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


# users' files

def test_a_users_yaml_and_json_give_the_same_machine(tmp_path):
    (tmp_path / "toy.yaml").write_text(GOOD)
    (tmp_path / "toy.JSON").write_text(json.dumps(yaml.safe_load(GOOD)))
    device = hardware(str(tmp_path / "toy.yaml"))
    assert device == hardware(tmp_path / "toy.JSON") == read_device(tmp_path / "toy.yaml") == read_text(GOOD, "toy")
    assert device.matrix_rate == {"int8": 2e12}
    assert device.memory[0].capacity_bytes == 2**20
    assert device.memory[0].read_j_per_byte == pytest.approx(8e-12)
    assert device.cited["clock"] == "Toy data sheet, 2025"
    assert device.cited["memory.sram.read_energy"] == "user"


def test_a_machine_written_as_json_is_read_back(tmp_path):
    path = tmp_path / "h100.json"
    path.write_text(json.dumps(hardware("h100").to_json()))
    assert hardware(str(path)) == hardware("h100")


def test_a_users_file_may_not_take_the_name_of_a_catalogue_machine(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace("key: toy", "key: t4"))
    with pytest.raises(InputError) as caught:
        hardware(path)
    message = str(caught.value)
    for said in ("mine.yaml", "'t4' (Toy)", hardware("t4").name, "matrix_rate", "a key of its own"):
        assert said in message
    assert "\n" not in message
    path.write_text(GOOD.replace("key: toy", "key: H100-SXM"))  # names are compared as people write them
    with pytest.raises(InputError, match="key of its own"):
        hardware(path)
    same = tmp_path / "t4.json"
    same.write_text(json.dumps(hardware("t4").to_json()))
    assert hardware(same) == hardware("t4")


def test_dtypes_may_be_written_as_usual():
    assert read_text(GOOD.replace("int8:", "bf16:"), "toy").matrix_rate == {"bfloat16": 2e12}


def test_process_is_kept_in_nanometres():
    assert hardware("h100").process_nm == 4.0
    assert hardware("a100").process_nm == 7.0


@pytest.mark.parametrize(("old", "new", "error", "expected"), [
    ("tdp:", "tpd:", FormatError, "unknown field 'tpd'"),
    ("{value: 5, unit: W, source: ds}", "{value: 5, unit: W, source: ds, colour: red}", FormatError, "tdp: unknown field 'colour'"),
    ("{value: 5, unit: W, source: ds}", "{value: 5, source: ds}", FormatError, "tdp: missing unit"),
    ("{value: 5, unit: W, source: ds}", "{value: 5, unit: W}", FormatError, "tdp: missing source"),
    ("{value: 5, unit: W, source: ds}", "5", FormatError, "tdp: expected a mapping with value, unit, source, got 5"),
    ("{value: 5, unit: W, source: ds}", "{value: 5, unit: MHz, source: ds}", UnitError, "tdp: unit 'MHz' measures frequency"),
    ("{value: 5, unit: W, source: ds}", "{value: 5, unit: [W], source: ds}", FormatError, "tdp.unit: expected text, got ['W']"),
    ("{value: 5, unit: W, source: ds}", "{value: 1" + 400 * "0" + ", unit: W, source: ds}", FormatError, "tdp: expected a finite number of W"),
    ("{value: 5, unit: W, source: ds}", "{value: true, unit: W, source: ds}", UnitError, "tdp: expected a finite number of W"),
    ("{value: 5, unit: W, source: ds}", "{value: five, unit: W, source: ds}", FormatError, "tdp: expected a finite number of W"),
    ("{value: 5, unit: W, source: ds}", "{value: .nan, unit: W, source: ds}", UnitError, "tdp: expected a finite number"),
    ("{value: 5, unit: W, source: ds}", "{value: -5, unit: W, source: ds}", InputError, "tdp: expected a number > 0"),
    ("{value: 5, unit: W, source: ds}", "{value: 5, unit: W, source: dx}", FormatError, "tdp.source: expected one of ds, derived, user"),
    ("{value: 5, unit: W, source: ds}", "{value: 5, unit: W, source: derived}", FormatError, "there is no note"),
    ("bandwidth: {value: 8,", "bandwidth: {value: 0,", InputError, "memory.dram.bandwidth: expected a number > 0"),
    (", bandwidth: {value: 8, unit: GB/s, source: ds}", "", InputError, "memory.dram.bandwidth"),
    ("name: dram", "name: sram", FormatError, "'sram' names two levels"),
    ("{name: dram, ", "{", FormatError, "memory[1]: missing name"),
    ("int8:", "int9:", FormatError, "matrix_rate: unknown dtype 'int9'; nearest: int8"),
    ("matrix_rate: {", "matrix_rate: {i8: {value: 1, unit: Top/s, source: ds}, ", FormatError, "int8 is given twice"),
    ("kind: npu", "kind: toaster", InputError, "kind: expected one of gpu"),
    ("key: toy", "key: 7", FormatError, "key: expected text"),
    ("name: Toy", "year: soon", FormatError, "missing name"),
    ("kind: npu", "kind: npu\nyear: soon", FormatError, "year: expected a year"),
    ("kind: npu", "kind: npu\naliases: toy1", FormatError, "aliases: expected a list"),
    ("kind: npu", "kind: npu\nunits: {value: 1.5, source: ds}", FormatError, "units: expected a whole number"),
    ("kind: npu", "kind: npu\nidle: {value: 6, unit: W, source: ds}", InputError, "idle: expected less than tdp"),
    ("kind: npu", "kind: npu\narray: {rows: {value: 4, source: ds}, cols: {value: 4, source: ds}, dataflow: up}", InputError, "array.dataflow"),
    ("kind: npu", "kind: npu\nfabric: {lut: {value: 4, source: ds}}", FormatError, "fabric: missing ff, dsp, bram_18k"),
    ("kind: npu", "kind: npu\nkind: gpu", FormatError, "the key 'kind' is given twice at line"),
    ("kind: npu", "kind: [npu", FormatError, "not YAML"),
    ("kind: npu", "kind: !!python/object/apply:os.getcwd []", FormatError, "not YAML"),
    (GOOD, "just words", FormatError, "the file: expected a mapping"),
    (GOOD, "", FormatError, "the file: expected a mapping"),
    (GOOD, "[" * 100000, FormatError, "not YAML"),
    ("key: toy", BOMB, FormatError, "key: expected text"),
    ("key: toy", "key: &k [*k]", FormatError, "key: expected text"),
    ("key: toy", "key: &k [[[[[[[[1]]]]]]]]\nnotes: *k", FormatError, "key: expected text"),
    ("kind: npu", "kind: npu\n? [1, 2]\n: x", FormatError, "not YAML"),
])
def test_each_fault_is_one_clear_line(old, new, error, expected):
    assert old in GOOD
    with pytest.raises(error) as caught:
        read_text(GOOD.replace(old, new), "toy.yaml")
    message = str(caught.value)
    assert expected in message
    assert message.startswith("toy.yaml: ")
    assert "\n" not in message


def test_user_is_no_source_in_the_catalogue():
    with pytest.raises(FormatError, match=r"read_energy.source: expected one of ds, derived \(a key"):
        read_text(GOOD, "toy.yaml", users=False)


@pytest.mark.parametrize(("name", "content", "expected"), [
    ("none.yaml", None, "no such file"), ("bad.json", b"{", "not JSON"), ("bad.json", b"[]", "expected a mapping"),
    ("bad.yaml", b"\xff\xfe\x00", "not a readable text file"),
    ("bad.json", b'{"format": "silicast-workload/1"}', "silicast-hardware/1"), ("nul.yaml", b"key: \x00", "not YAML"),
])
def test_an_unreadable_file_is_one_clear_line(tmp_path, name, content, expected):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError) as caught:
        hardware(str(tmp_path / name))
    assert expected in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_is_not_a_device(tmp_path):
    (tmp_path / "d.yaml").mkdir()
    with pytest.raises(FormatError, match="not a readable text file"):
        hardware(str(tmp_path / "d.yaml"))


# the document

def test_the_worked_device_of_the_docs_is_sound():
    block = re.search(r"```yaml\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    device = read_text(block[1], "docs")
    assert device.key == "my_npu"
    assert device.array is not None
    assert device.rate("int8") == pytest.approx(2 * 4 * 32 * 32 * 800e6)
    with pytest.raises(UnitError) as caught:
        read_text(block[1].replace("tdp: {value: 6, unit: W", "tdp: {value: 6, unit: MHz"), "my_npu.yaml")
    assert str(caught.value) in DOC.read_text(encoding="utf-8")


def test_the_examples_of_the_docs_run():
    result = doctest.testfile(str(DOC), module_relative=False)
    assert result.attempted >= 4
    assert result.failed == 0


def test_what_is_no_name_of_a_machine_is_found_to_be_none_without_an_error():
    assert catalog.find("NVIDIA A100-SXM4-80GB") is hardware("a100_sxm")
    assert catalog.find("NVIDIA RTX3090") is hardware("rtx_3090")
    for word in ("nobody knows it", "h1000", "", "conv2d"):
        assert catalog.find(word) is None
