"""Measured tables: what the schema says becomes questions and answers in SI; what cannot be used is said, counted and placed."""

import numpy as np
import pandas as pd
import pytest
import yaml

from silicast.datasets.columns import OpColumns
from silicast.datasets.dtypes import DTYPE_CODES
from silicast.datasets.errors import FormatError, InputError, TableError, UnitError, UnknownNameError
from silicast.datasets.measured import Schema, read_frame, read_measured
from silicast.datasets.ops import KIND_CODES, Op

GEMM = {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k", "dtype": "dtype"}, "hardware": "gpu", "context": ["lib"],
        "targets": {"latency_s": {"column": "ms", "unit": "ms"}, "power_w": {"column": "w", "unit": "W"}}, "group": ["n", "k"]}


def gemms() -> pd.DataFrame:
    return pd.DataFrame({"m": [1, 2, 4, 8], "n": [16, 16, 32, 32], "k": [64, 64, 64, 64], "dtype": ["fp16", "int8", "int4_wo", "bfloat16"],
                         "gpu": ["NVIDIA A100", "my_chip", "t4", "my_chip"], "lib": ["a", "a", "b", "b"], "ms": [0.5, 1.0, 2.0, 4.0], "w": [100.0, 200.0, 50.0, 75.0]})


def with_cell(column: str, row: int, value: object) -> pd.DataFrame:
    frame = gemms()
    frame[column] = frame[column].astype(object if isinstance(value, str) else float if column not in ("gpu", "dtype") else object)
    frame.loc[row, column] = value
    return frame


def test_a_table_of_one_op():
    table = read_measured(gemms(), GEMM)
    ops = table.questions.ops
    assert ops.m.tolist() == [1, 2, 4, 8]
    assert ops.matrix_flops.tolist() == [2.0 * 16 * 64, 2.0 * 2 * 16 * 64, 2.0 * 4 * 32 * 64, 2.0 * 8 * 32 * 64]
    assert [list(DTYPE_CODES)[c] for c in ops.dtype] == ["float16", "int8", "float16", "bfloat16"]
    assert [list(DTYPE_CODES)[c] for c in ops.weight_dtype] == ["float16", "int8", "int4", "bfloat16"]   # int4_wo stores weights in 4 bits
    assert ops.weight_bytes[2] == 64 * 32 / 2
    assert table.targets["latency_s"].tolist() == [0.0005, 0.001, 0.002, 0.004]
    assert table.targets["power_w"].tolist() == [100.0, 200.0, 50.0, 75.0]
    assert table.groups.tolist() == ["16|64", "16|64", "32|64", "32|64"]
    assert list(table.slices.columns) == ["device", "lib"]
    assert list(table.questions.context.columns) == ["dtype_name", "lib"]
    assert table.source == "measured:table"
    assert table.notes == ()


def test_a_device_outside_the_catalogue_is_known_by_its_rows():
    questions = read_measured(gemms(), GEMM).questions
    by_name = dict(zip(questions.device_names, questions.devices, strict=True))
    assert by_name["my_chip"] is None
    assert by_name["a100_sxm"].key == "a100_sxm"                   # written as an alias, NVIDIA A100
    assert [questions.device_names[i] for i in questions.device_index] == ["a100_sxm", "my_chip", "t4", "my_chip"]


def test_one_machine_under_two_names_is_one_machine(tmp_path):
    frame = gemms().assign(gpu=["NVIDIA A100", "a100_sxm", "A100-SXM", "my Chip"])
    table = read_measured(frame, {**GEMM, "group": ["gpu"]})
    assert table.questions.device_names == ("a100_sxm", "my Chip")
    assert table.slices["device"].tolist() == ["a100_sxm", "a100_sxm", "a100_sxm", "my Chip"]
    assert table.groups.tolist() == ["a100_sxm", "a100_sxm", "a100_sxm", "my Chip"]
    plain = read_measured(frame.drop(columns=["dtype"]), {"hardware": "gpu", "targets": GEMM["targets"]})
    assert plain.questions.frame["gpu"].tolist() == ["a100_sxm", "a100_sxm", "a100_sxm", "my Chip"]


def test_several_ops_by_map_with_nested_columns_and_products():
    frame = pd.DataFrame({"what": ["linear", "sm", "bmm", "sm"], "b": [1, 2, 3, 4], "h": [1, 5, 1, 7], "x": [10, 11, 12, 13], "y": [20, 21, 22, 23], "us": [1.0, 2, 3, 4]})
    schema = {"op": {"column": "what", "map": {"linear": "gemm", "bmm": "gemm", "sm": "softmax"}}, "fixed": {"dtype": "float32", "hardware": "v100"},
              "columns": {"linear": {"m": "x", "n": "y", "k": "y"}, "bmm": {"b": "b", "m": "x", "n": "y", "k": ["h", "x"]}, "sm": {"rows": ["b", "h"], "cols": "x"}},
              "targets": {"latency_s": {"column": "us", "unit": "us"}}}
    table = read_measured(frame, schema)
    by_hand = OpColumns.from_ops([Op.of("a", "gemm", dtype="float32", m=10, n=20, k=20), Op.of("b", "softmax", dtype="float32", rows=2 * 5, cols=11),
                                  Op.of("c", "gemm", dtype="float32", b=3, m=12, n=22, k=12), Op.of("d", "softmax", dtype="float32", rows=4 * 7, cols=13)])
    for name in ("kind", "b", "m", "n", "k", "matrix_flops", "vector_flops", "input_bytes", "weight_bytes", "output_bytes", "row"):
        np.testing.assert_allclose(getattr(table.questions.ops, name), getattr(by_hand, name), err_msg=name)
    assert table.questions.ops.kind.tolist() == [KIND_CODES[k] for k in ("gemm", "softmax", "gemm", "softmax")]
    assert table.targets["latency_s"] == pytest.approx([1e-6, 2e-6, 3e-6, 4e-6])
    assert table.slices["op"].tolist() == ["linear", "sm", "bmm", "sm"]
    assert table.questions.device_names == ("v100_sxm",)           # v100 is an alias
    assert [d.key for d in table.questions.devices] == ["v100_sxm"]


def test_where_keeps_rows_and_an_unmapped_op_says_what_to_do():
    frame = gemms().assign(op=["gemm", "conv9", "gemm", "gemm"])
    schema = {**GEMM, "op": {"column": "op"}}
    with pytest.raises(UnknownNameError, match=r"unknown operator kind 'conv9'.*in table, column op; name it in op.map, or leave such rows out with where"):
        read_measured(frame, schema)
    assert read_measured(frame, {**schema, "where": {"op": ["gemm"]}}).questions.ops.m.tolist() == [1, 4, 8]
    with pytest.raises(TableError, match=r"no row has lib in \['zzz'\]"):
        read_measured(frame, {**schema, "where": {"lib": ["zzz"]}})
    with pytest.raises(TableError, match="nothing for the op 'conv9'; there is: gemm"):
        read_measured(frame, {**schema, "op": {"column": "op", "map": {"conv9": "gemm"}}, "columns": {"gemm": GEMM["columns"]}})


def test_weights_may_have_a_column_or_a_fixed_format_of_their_own():
    frame = gemms().assign(wt=["int4", "int8", "float8", "float16"])
    table = read_measured(frame, {**GEMM, "columns": {"m": "m", "n": "n", "k": "k", "weight_dtype": "wt"}, "fixed": {"dtype": "float16"}})
    assert table.questions.ops.weight_bytes.tolist() == [16 * 64 / 2, 16 * 64, 32 * 64, 32 * 64 * 2]
    table = read_measured(gemms(), {**GEMM, "columns": {"m": "m", "n": "n", "k": "k"}, "fixed": {"dtype": "float16", "weight_dtype": "int8"}})
    assert table.questions.ops.weight_bytes.tolist() == [16 * 64, 16 * 64, 32 * 64, 32 * 64]


def test_a_plain_feature_table():
    frame = pd.DataFrame({"width": [1.0, 2.0, 3.0], "style": ["a", "b", "a"], "lut": [0, 5, 9], "score": [-1.0, 0.0, 2.5]})
    schema = {"targets": {"lut": {"column": "lut"}, "score": {"column": "score"}}}
    table = read_measured(frame, schema)
    assert list(table.questions.frame.columns) == ["width", "style"]
    assert table.targets["lut"].tolist() == [0, 5, 9]               # a resource may be zero
    assert table.targets["score"].tolist() == [-1.0, 0.0, 2.5]      # a target silicast has no name for may be anything finite
    assert table.groups.tolist() == ["1.0|a", "2.0|b", "3.0|a"]     # equal inputs stand together
    chosen = read_measured(frame, {**schema, "features": ["width"], "context": ["style"], "group": ["style"]})
    assert list(chosen.questions.frame.columns) == ["width", "style"]
    assert chosen.groups.tolist() == ["a", "b", "a"]
    with pytest.raises(TableError, match=r"1 of 3 rows cannot be used \(width is infinite: 1 rows, first is row 1, counting from 0\)"):
        read_measured(frame.assign(width=[1.0, np.inf, 2.0]), schema)
    unknown = read_measured(frame.assign(width=[1.0, None, 2.0]), schema)
    np.testing.assert_array_equal(unknown.questions.frame["width"], [1.0, np.nan, 2.0])
    assert unknown.notes == ("width is empty in 1 of 3 rows: not known there",)
    np.testing.assert_array_equal(read_measured(frame.assign(width=pd.array([1, None, 2], dtype="Int64")), schema, need_targets=False).questions.frame["width"], [1.0, np.nan, 2.0])
    assert np.isnan(read_measured(frame.assign(width=np.nan), schema, need_targets=False).questions.frame["width"]).all()
    assert np.isnan(read_measured(frame.assign(width=[None] * 3), schema, need_targets=False).questions.frame["width"]).all()
    assert np.isnan(read_measured(frame.assign(width=np.nan), schema, words=("style",)).questions.frame["width"]).all()  # a model that was fitted is judged by such a table
    np.testing.assert_array_equal(read_measured(frame.assign(width=[True, None, False]), schema).questions.frame["width"], [1.0, np.nan, 0.0])
    with pytest.raises(TableError, match="width is empty in every row: leave it out of the features"):
        read_measured(frame.assign(width=np.nan), schema)
    unsaid = read_measured(frame.assign(style=["a", None, "b"]), schema)
    assert list(unsaid.questions.frame["style"]) == ["a", "(empty)", "b"]
    assert unsaid.notes == ("style is empty in 1 of 3 rows: taken as the word (empty)",)
    assert list(read_measured(frame.assign(style=["a", None, "b"]), schema, need_targets=False).questions.frame["style"]) == ["a", "(empty)", "b"]
    assert list(read_measured(frame.assign(style=pd.Series(["a", None, "a"], dtype="category")), schema).questions.frame["style"]) == ["a", "(empty)", "a"]
    known = {"need_targets": False, "words": ("style",)}  # what a model learned as words is words in a table that does not show it
    assert list(read_measured(frame.assign(style=[None, None, None]), schema, **known).questions.frame["style"]) == ["(empty)"] * 3
    assert list(read_measured(frame.assign(style=[1.0, np.nan, 2.5]), schema, **known).questions.frame["style"]) == ["1", "(empty)", "2.5"]
    with pytest.raises(TableError, match=r"style is missing: 1 rows|style is NaN or infinite: 1 rows"):  # a machine that nobody named is not a machine of that name
        read_measured(frame.assign(style=["a", None, "b"]), {**schema, "hardware": "style"})
    with pytest.raises(TableError, match="style is missing: 1 rows"):
        read_measured(frame.assign(style=["a", None, "b"]), {**schema, "hardware": "style", "features": ["width"]})
    with pytest.raises(TableError, match="style is empty in every row: leave it out of the features: 3 rows"):
        read_measured(frame.assign(style=[None, None, None]), schema)


@pytest.mark.parametrize(("target", "unit", "factor"), [("latency_s", "us", 1e-6), ("energy_j", "mJ", 1e-3), ("power_w", "kW", 1e3), ("memory_bytes", "MiB", 2.0**20),
                                                        ("utilization", "%", 0.01), ("dram_bytes", "GB", 1e9), ("throughput_tok_s", "tok/s", 1.0)])
def test_units_become_si(target, unit, factor):
    frame = pd.DataFrame({"a": [1.0, 2.0], "y": [3.0, 5.0]})
    table = read_measured(frame, {"targets": {target: {"column": "y", "unit": unit}}})
    assert table.targets[target] == pytest.approx([3.0 * factor, 5.0 * factor])


@pytest.mark.parametrize("unit", [1, "1", "count"])
def test_one_is_a_unit_of_counts(unit):
    """YAML reads `unit: 1` as a number."""
    assert read_measured(pd.DataFrame({"a": [1.0, 2.0], "y": [3.0, 5.0]}), {"targets": {"lut": {"column": "y", "unit": unit}}}).targets["lut"] == pytest.approx([3.0, 5.0])


def test_wrong_and_missing_units():
    with pytest.raises(UnitError, match=r"schema: targets.latency_s.unit: 'W' does not measure time; expected one of s, ms, us, ns"):
        Schema.read({"targets": {"latency_s": {"column": "y", "unit": "W"}}})
    with pytest.raises(UnitError, match=r"targets.energy_j.unit: missing; expected one of J, mJ"):
        Schema.read({"targets": {"energy_j": {"column": "y"}}})


def test_a_missing_column_names_the_nearest():
    with pytest.raises(TableError, match=r"table: targets.latency_s: no column 'mss'; nearest: ms"):
        read_measured(gemms(), {**GEMM, "targets": {"latency_s": {"column": "mss", "unit": "ms"}}})
    for changes, field in (({"columns": {**GEMM["columns"], "m": "mm"}}, "columns.m"), ({"hardware": "gpus"}, "hardware"), ({"context": ["libs"]}, "context"),
                           ({"group": ["libs"]}, "group"), ({"where": {"libs": ["a"]}}, "where"), ({"columns": {**GEMM["columns"], "dtype": "dtypes"}}, "columns.dtype"),
                           ({"op": {"column": "opp"}}, "op")):
        with pytest.raises(TableError, match=rf"^table: {field}: no column '\w+'; (nearest|there are): "):
            read_measured(gemms(), {**GEMM, **changes})


@pytest.mark.parametrize(("schema", "path"), [
    ({"colums": {}}, "colums"), ({"targets": {"latency_s": {"column": "y", "unit": "s", "scale": 2}}}, r"targets.latency_s.scale"), ({"targets": {"latency_s": "y"}}, r"targets.latency_s"),
    ({"op": {"column": "op", "mapp": {}}}, "op"), ({"where": {"op": "gemm"}}, r"where.op"), ({"context": "a"}, "context"), ({"op": 5}, "op"),
])
def test_an_unknown_or_wrong_field_comes_with_its_path(tmp_path, schema, path):
    place = tmp_path / "schema.yaml"
    place.write_text(yaml.safe_dump(schema))
    with pytest.raises(FormatError, match=rf"schema.yaml: {path}.*known fields: op, columns") as caught:
        read_measured(gemms(), place)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "5", "", "{a: [}", "a: b: c", "\x00"])
def test_a_schema_that_is_none(tmp_path, text):
    place = tmp_path / "schema.yaml"
    place.write_text(text)
    with pytest.raises(FormatError, match=r"schema.yaml: (expected a mapping|not readable as YAML)"):
        Schema.read(place)
    with pytest.raises(FormatError, match="no such schema file"):
        Schema.read(tmp_path / "nowhere.yaml")


def test_other_schema_faults():
    for changes, error, match in (
        ({"columns": {"m": "m", "n": "n", "dtype": "dtype"}}, TableError, "gemm needs m, n, k; the schema's columns and fixed lack k"),
        ({"columns": {**GEMM["columns"], "q": "m"}}, UnknownNameError, "unknown field of gemm 'q'"),
        ({"columns": {**GEMM["columns"], "m": 5}}, FormatError, "columns.m: expected a column name or a list of them, got 5"),
        ({"columns": {**GEMM["columns"], "m": []}}, FormatError, "columns.m: expected a column name"),
        ({"columns": {**GEMM["columns"], "dtype": ["dtype"]}}, FormatError, "columns.dtype: expected a column name"),
        ({"columns": {"m": "m", "n": "n", "k": "k"}}, TableError, "an op table needs a dtype"),
        ({"fixed": {"bias": "yes"}}, FormatError, "fixed.bias: expected a number, got 'yes'"),
        ({"fixed": {"biass": 1}}, UnknownNameError, "unknown fixed field 'biass'; nearest: bias"),
        ({"hardware": None}, TableError, "needs the schema's hardware"),
        ({"targets": {}}, TableError, "the schema names no targets"),
        ({"op": "gemn"}, UnknownNameError, "nearest: gemm"),
        ({"workload": {"column": "a"}}, FormatError, "workload.format: Field required"),
        ({"workload": {"column": "a", "format": "nas-bench-201"}}, FormatError, "expected op or workload, got both"),
        ({"op": None, "workload": {"column": "a", "format": "nas-bench-21"}}, UnknownNameError, "nearest: nas-bench-201"),
        ({"op": None, "workload": {"format": "path"}}, FormatError, "workload.column: missing; expected the column that holds the path of a file"),
        ({"columns": {**GEMM["columns"], "dtype": "lib"}}, UnknownNameError, "unknown dtype 'a'.*in table, column lib"),
    ):
        with pytest.raises(error, match=match):
            read_measured(gemms(), {**GEMM, **changes})


@pytest.mark.parametrize("value", [np.nan, 0.0, -2.0, np.inf])
def test_a_target_that_is_no_answer(value):
    frame = with_cell("ms", 2, value)
    frame.loc[3, "ms"] = value
    with pytest.raises(TableError, match=r"^table: 2 of 4 rows cannot be used \(ms is NaN, infinite or not positive: 2 rows, first is row 2, counting from 0\); mend them, or skip them"):
        read_measured(frame, GEMM)
    table = read_measured(frame, GEMM, skip_bad_rows=True)
    assert table.questions.ops.m.tolist() == [1, 2]
    assert table.targets["latency_s"].tolist() == [0.0005, 0.001]
    assert table.notes == ("2 of 4 rows set aside: ms is NaN, infinite or not positive: 2 rows, first is row 2, counting from 0",)


@pytest.mark.parametrize(("column", "value", "told"), [
    ("m", 0.0, "gemm m is missing or less than 1: 1 rows, first is row 1"), ("k", np.nan, "gemm k is missing"), ("n", -4.0, "gemm n is missing"), ("n", np.inf, "gemm n is missing"),
    ("gpu", None, "gpu is missing: 1 rows, first is row 1"), ("dtype", None, "dtype is missing: 1 rows, first is row 1"),
])
def test_an_input_that_is_none(column, value, told):
    frame = with_cell(column, 1, value)
    with pytest.raises(TableError, match=told):
        read_measured(frame, GEMM)
    table = read_measured(frame, GEMM, skip_bad_rows=True)
    assert table.questions.ops.m.tolist() == [1, 4, 8]
    assert table.questions.context["lib"].tolist() == ["a", "b", "b"]
    assert len(table.notes) == 1
    with pytest.raises(TableError, match=told):                    # a question that cannot be asked is no question, answers or not
        read_measured(frame, GEMM, need_targets=False)


def test_a_row_is_counted_as_in_the_file():
    frame = gemms()
    frame.loc[3, "ms"] = np.nan
    with pytest.raises(TableError, match=r"1 of 2 rows cannot be used .* first is row 3"):
        read_measured(frame, {**GEMM, "where": {"lib": ["b"]}})
    frame.index = [10, 20, 30, 40]                                 # whatever a caller's frame is indexed by
    with pytest.raises(TableError, match="first is row 3"):
        read_measured(frame, GEMM)


def test_flags_are_zero_or_one():
    frame = gemms().assign(has_bias=[0, 1, 2, 0])
    with pytest.raises(TableError, match="gemm bias is missing or less than 0 or more than 1: 1 rows, first is row 2"):
        read_measured(frame, {**GEMM, "columns": {**GEMM["columns"], "bias": "has_bias"}})


def test_every_row_bad():
    frame = gemms().assign(ms=np.nan)
    with pytest.raises(TableError, match=r"no row can be used \(ms is NaN"):
        read_measured(frame, GEMM, skip_bad_rows=True)


def test_text_where_a_number_belongs():
    for column, field in (("ms", "targets.latency_s"), ("m", "columns.m")):
        with pytest.raises(TableError, match=rf"table: {field}: column '{column}' must hold numbers; row 1, counting from 0, is 'fast'"):
            read_measured(with_cell(column, 1, "fast"), GEMM)


def test_without_targets_every_row_is_kept():
    frame = with_cell("ms", 0, np.nan)
    table = read_measured(frame, GEMM, need_targets=False)
    assert len(table) == 4
    assert np.isnan(table.targets["latency_s"][0])
    table = read_measured(gemms().drop(columns=["ms", "w"]), GEMM, need_targets=False)
    assert len(table) == 4
    assert dict(table.targets) == {}
    assert len(read_measured(gemms(), {**GEMM, "targets": {}}, need_targets=False)) == 4


def test_csv_and_parquet_agree(tmp_path):
    frame = gemms()
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    one, other = read_measured(tmp_path / "t.csv", GEMM), read_measured(tmp_path / "t.parquet", GEMM)
    assert one.digest == other.digest
    assert one.source == "measured:t.csv"
    np.testing.assert_array_equal(one.questions.ops.total_bytes, other.questions.ops.total_bytes)
    pd.testing.assert_frame_equal(one.questions.context, other.questions.context, check_dtype=False)
    assert one.questions.device_names == other.questions.device_names


def test_files_that_are_no_table(tmp_path):
    good = tmp_path / "good.parquet"
    gemms().to_parquet(good)
    (tmp_path / "cut.parquet").write_bytes(good.read_bytes()[:-40])
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01" * 50)
    (tmp_path / "table.xlsx").write_bytes(b"PK")
    for name, match in (("cut.parquet", "not a readable parquet table"), ("empty.csv", "not a readable csv table"), ("binary.csv", "not a readable csv table"),
                        ("table.xlsx", r"expected a .csv or .parquet table, got '.xlsx'"), ("nowhere.csv", "no such file")):
        with pytest.raises(FormatError, match=match) as caught:
            read_frame(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)
    (tmp_path / "header.csv").write_text("m,n,k\n")
    with pytest.raises(TableError, match=r"header.csv: the table has no rows"):
        read_measured(tmp_path / "header.csv", GEMM)
    with pytest.raises(TableError, match="the table has no rows"):
        read_measured(gemms().iloc[:0], GEMM)
    with pytest.raises(TableError, match="two columns are called 'm'"):
        read_measured(pd.concat([gemms(), gemms()[["m"]]], axis=1), GEMM)
    assert issubclass(TableError, InputError)


def test_a_lone_group_column_is_no_input_and_several_are():
    frame = pd.DataFrame({"a": [1, 2, 3], "run": [7, 7, 8], "site": ["x", "y", "y"], "y": [1.0, 2.0, 3.0]})
    targets = {"score": {"column": "y"}}
    for group, inputs in ((["run"], ["a", "site"]), (["site"], ["a", "run"]), (["run", "site"], ["a", "run", "site"])):
        assert list(read_measured(frame, {"targets": targets, "group": group}).questions.frame.columns) == inputs
    chosen = read_measured(frame, {"targets": targets, "group": ["run"], "features": ["a", "run"]})
    assert list(chosen.questions.frame.columns) == ["a", "run"]     # asked for by name
    assert list(read_measured(frame, {"targets": targets, "group": ["site"], "context": ["site"]}).questions.frame.columns) == ["a", "run", "site"]


def test_questions_need_no_group_column():
    schema = {**GEMM, "group": ["site", "run"]}
    with pytest.raises(TableError, match="group: no column 'site'"):
        read_measured(gemms(), schema)
    table = read_measured(gemms(), schema, need_targets=False)
    assert table.groups.tolist() == ["0", "1", "2", "3"]
    plain = read_measured(pd.DataFrame({"a": [1, 2]}), {"targets": {"score": {"column": "y"}}, "group": ["run"]}, need_targets=False)
    assert list(plain.questions.frame.columns) == ["a"]


@pytest.mark.parametrize(("name", "unit", "meant"), [("latency", "", "latency_s with unit: s"), ("latency_ms", "", "latency_s with unit: ms"), ("latency", "us", "latency_s with unit: us"),
                                                     ("energy_mj", "", "energy_j with unit: mJ"), ("Power_W", "kW", "power_w with unit: kW"), ("luts", "", "lut")])
def test_a_near_miss_of_a_target(name, unit, meant):
    with pytest.raises(UnknownNameError, match=rf"unknown target '{name}'.*targets.{name}: did you mean {meant}\?"):
        Schema.read({"targets": {name: {"column": "y", "unit": unit}}})


def test_the_unit_of_a_target_silicast_has_no_name_for():
    with pytest.raises(UnitError, match=r"schema: targets.score.unit: 'parsec' is unknown; expected none, or one of s, ms, us"):
        Schema.read({"targets": {"score": {"column": "y", "unit": "parsec"}}})
    frame = pd.DataFrame({"a": [1.0, 2.0], "y": [3.0, 5.0]})
    table = read_measured(frame, {"targets": {"wait": {"column": "y", "unit": "ms"}}})
    assert table.targets["wait"].tolist() == [3.0, 5.0]             # stays in its own unit


def test_text_is_placed_as_in_the_file_even_after_where():
    frame = with_cell("ms", 3, "fast")
    with pytest.raises(TableError, match=r"column 'ms' must hold numbers; row 3, counting from 0, is 'fast'"):
        read_measured(frame, {**GEMM, "where": {"lib": ["b"]}})


def test_an_empty_circumstance_of_an_operator_is_a_word_and_told():
    frame = gemms()
    frame["lib"] = frame["lib"].astype(object)
    frame.loc[1, "lib"] = None
    table = read_measured(frame, GEMM)
    assert table.questions.context["lib"][1] == table.slices["lib"][1] == "(empty)"
    assert "lib is empty in 1 of" in " ".join(table.notes)


def test_an_empty_kind_of_operator_is_named():
    frame = gemms().assign(what=["gemm", None] + ["gemm"] * (len(gemms()) - 2))
    with pytest.raises(UnknownNameError, match=r"\(empty\).*column what"):
        read_measured(frame, {**GEMM, "op": {"column": "what"}})


@pytest.mark.parametrize("cells", [[True, False, None], [True, None, False]])
def test_yes_and_no_are_words_where_they_were_learned_as_words_and_numbers_elsewhere(cells):
    schema = {"features": ["x", "fast"], "targets": {"latency_s": {"column": "s", "unit": "s"}}}
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "fast": cells, "s": [1.0, 2.0, 3.0]})
    learned = read_measured(frame, schema, words=("fast",)).questions.frame["fast"]
    assert list(learned) == ["(empty)" if c is None else str(c) for c in cells]
    assert list(read_measured(frame.dropna().reset_index(drop=True).astype({"fast": bool}), schema, words=("fast",)).questions.frame["fast"]) == [str(c) for c in cells if c is not None]
    np.testing.assert_array_equal(read_measured(frame, schema).questions.frame["fast"], [np.nan if c is None else float(c) for c in cells])


def test_a_machine_that_is_missing_among_numbers_is_a_bad_row():
    schema = {"features": ["x", "gpu"], "hardware": "gpu", "targets": {"latency_s": {"column": "s", "unit": "s"}}}
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "gpu": [1, 2, None], "s": [1.0, 2.0, 3.0]})
    with pytest.raises(TableError, match="gpu is missing: 1 rows, first is row 2"):
        read_measured(frame, schema)


def test_a_column_may_be_called_self():
    schema = {"features": ["x", "self"], "targets": {"latency_s": {"column": "s", "unit": "s"}}}
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "self": ["a", None, "b"], "s": [1.0, 2.0, 3.0]})
    assert list(read_measured(frame, schema).questions.frame["self"]) == ["a", "(empty)", "b"]


def test_a_target_that_is_not_wanted_may_be_missing():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "ms": [1.0, 2.0, 4.0], "watts": [5.0, np.nan, -1.0]})
    schema = {"features": ["a"], "targets": {"latency_s": {"column": "ms", "unit": "ms"}, "power_w": {"column": "watts", "unit": "W"}}}
    with pytest.raises(TableError, match=r"2 of 3 rows cannot be used .*fit each by itself with --target"):
        read_measured(frame, schema)
    data = read_measured(frame, schema, wanted=("latency_s",))
    assert len(data) == 3
    np.testing.assert_array_equal(data.targets["power_w"], [5.0, np.nan, np.nan])
    for other in (frame.drop(columns="watts"), frame.assign(watts=["5", "OOM", "6"])):
        assert list(read_measured(other, schema, wanted=("latency_s",)).targets) == ["latency_s"]
        with pytest.raises(TableError, match="watts"):
            read_measured(other, schema)
        with pytest.raises(TableError, match="watts"):
            read_measured(other, schema, wanted=("latency_s", "power_w"))


def test_a_field_that_no_schema_has_is_told_with_the_nearest():
    with pytest.raises(FormatError, match=r"schema: feature: no such field \(did you mean features\?\); known fields: op, columns"):
        read_measured(pd.DataFrame({"a": [1.0]}), {"feature": ["a"]})


def test_a_machine_whose_name_is_a_number_is_a_machine() -> None:
    schema = {"features": ["x"], "hardware": "gpu", "targets": {"latency_s": {"column": "s", "unit": "s"}}}
    for names in ([77, 78, 77], [77.0, 78.0, 77.0]):
        questions = read_measured(pd.DataFrame({"x": [1.0, 2.0, 3.0], "gpu": names, "s": [1.0, 2.0, 3.0]}), schema).questions
        assert questions.frame["gpu"].tolist() == ["77", "78", "77"]


def test_one_column_needs_no_list() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "who": ["a", "a", "b"], "s": [1.0, 2.0, 3.0]})
    table = read_measured(frame, {"features": "x", "group": "who", "targets": {"latency_s": {"column": "s", "unit": "s"}}})
    assert table.groups.tolist() == ["a", "a", "b"]
    assert list(table.questions.frame.columns) == ["x"]


def test_names_that_a_fitted_model_knows_stay_as_it_knows_them() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0], "gpu": ["NVIDIA RTX3090", "Tesla T4"], "s": [1.0, 2.0]})
    schema = {"features": ["x"], "hardware": "gpu", "targets": {"latency_s": {"column": "s", "unit": "s"}}}
    assert read_measured(frame, schema).questions.frame["gpu"].tolist() == ["rtx_3090", "t4"]
    assert read_measured(frame, schema, words={"gpu": ["NVIDIA RTX3090"]}).questions.frame["gpu"].tolist() == ["NVIDIA RTX3090", "t4"]
    numbers = frame.assign(gpu=[3090, 4])
    assert read_measured(numbers, schema, words={"lib": ["a"]}).questions.frame["gpu"].tolist() == [3090.0, 4.0]  # a model made when they were numbers
    assert read_measured(numbers, schema, words={"gpu": ["3090"]}).questions.frame["gpu"].tolist()[0] == "3090"


def test_a_model_keeps_the_names_it_learned_machines_by() -> None:
    """A name that a model knows and the catalogue did not know in its day stays that machine, without figures, though the catalogue knows it now."""
    frame = pd.DataFrame({"m": [64, 128], "n": [64, 64], "k": [64, 64], "gpu": ["NVIDIA L4", "l4"], "ms": [1.0, 2.0]})
    schema = {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k"}, "fixed": {"dtype": "float16"}, "hardware": "gpu", "targets": {"latency_s": {"column": "ms", "unit": "ms"}}}
    now = read_measured(frame, schema).questions
    assert now.device_names == ("l4",)
    then = read_measured(frame, schema, need_targets=False, words={"gpu": ["NVIDIA L4"]}).questions
    assert then.device_names == ("NVIDIA L4", "l4")
    assert [d.key if d else None for d in then.devices] == [None, "l4"]
