"""Program graphs of HLS kernels: trip counts and work by hand, pragmas where they belong, hostile files refused."""

from __future__ import annotations

import json
import os
import re
import tarfile
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from silicast.datasets.errors import FormatError, GraphError, InputError, UnknownNameError
from silicast.datasets.frontends.hls import ATTRIBUTES, HlsLoop, read_hls, read_hls_workload

DATA = Path(os.environ.get("SILICAST_DATA") or Path(__file__).resolve().parents[3].parent / "shared" / "data")


def gexf(path: Path, blocks: list[list[str]], branches: list[tuple[int, int]], pragmas: list[tuple[int, str]] = (), head: str = "") -> Path:
    """A program graph: instructions block by block, branches from block to block, pragmas on the compare of a block."""
    nodes, edges, at = [], [], {}
    for number, block in enumerate(blocks):
        for text in block:
            at.setdefault(number, []).append(len(nodes))
            nodes.append((0, number, text))
    for a, b in branches:
        edges.append((at[a][-1], at[b][0], 0))
    for block, text in pragmas:
        compare = next(i for i in at[block] if "icmp" in nodes[i][2])
        edges.append((compare, len(nodes), 3))
        nodes.append((3, block, text))
    values = lambda pairs: "".join(f'<attvalue for="{k}" value={quoteattr(str(v))}/>' for k, v in pairs)  # noqa: E731
    path.write_text(
        '<?xml version="1.0"?>' + head + '<gexf xmlns="http://www.gexf.net/1.2draft"><graph defaultedgetype="directed">'
        '<attributes class="edge"><attribute id="5" title="flow" type="long"/></attributes><attributes class="node">'
        + "".join(f'<attribute id="{i}" title="{t}" type="long"/>' for i, t in enumerate(("block", "function", "text", "type", "full_text")))
        + "</attributes><nodes>" + "".join(f'<node id="{i}"><attvalues>{values(((0, b), (1, 0), (2, "x"), (3, k), (4, t)))}</attvalues></node>' for i, (k, b, t) in enumerate(nodes))
        + "</nodes><edges>" + "".join(f'<edge id="{i}" source="{a}" target="{b}"><attvalues>{values(((5, f),))}</attvalues></edge>' for i, (a, b, f) in enumerate(edges))
        + "</edges></graph></gexf>", encoding="utf-8")
    return path


def counted(name: str, start: str, bound: str, step: int = 1, relation: str = "slt") -> tuple[list[str], list[str], list[str]]:
    """(before, test, after) of `for (name = start; name < bound; name += step)`."""
    return ([f"store i32 {start}, i32* %{name}, align 4", "br label %cond"],
            [f"%v{name} = load i32, i32* %{name}, align 4", f"%c{name} = icmp {relation} i32 %v{name}, {bound}", f"br i1 %c{name}, label %body, label %end"],
            [f"%n{name} = load i32, i32* %{name}, align 4", f"%s{name} = add nsw i32 %n{name}, {step}", f"store i32 %s{name}, i32* %{name}, align 4", "br label %cond"])


def matvec(path: Path, inner_start: str = "0", inner_bound: str = "12", extra: tuple[str, ...] = (), head: str = "") -> Path:
    """y[i] = sum_j a[8 i + j] x[j] for 8 rows: blocks 0 entry, 1 test i, 2 body i, 3 test j, 4 body j, 5 next j, 6 store y, 7 next i, 8 end."""
    (i0, i1, i2), (j0, j1, j2) = counted("i", "0", "8"), counted("j", inner_start, inner_bound)
    allocas = [*(f"%{n}.addr = alloca double*, align 8" for n in "axy"), *(f"%{n} = alloca i32, align 4" for n in ("i", "j", "row", "m")), "%sum = alloca double, align 8"]
    body = ["%pa = load double*, double** %a.addr, align 8", "%r = load i32, i32* %row, align 4", "%j1 = load i32, i32* %j, align 4", "%at = add nsw i32 %r, %j1",
            "%w = sext i32 %at to i64", "%ea = getelementptr inbounds double, double* %pa, i64 %w", "%va = load double, double* %ea, align 8",
            "%px = load double*, double** %x.addr, align 8", "%jw = sext i32 %j1 to i64", "%ex = getelementptr inbounds double, double* %px, i64 %jw",
            "%vx = load double, double* %ex, align 8", "%mul = fmul double %va, %vx", "%s0 = load double, double* %sum, align 8",
            "%s1 = fadd double %s0, %mul", "store double %s1, double* %sum, align 8", "br label %inc"]
    row = ["%i1 = load i32, i32* %i, align 4", "%r8 = mul nsw i32 %i1, 8", "store i32 %r8, i32* %row, align 4", "store double 0.0, double* %sum, align 8", *extra, *j0]
    out = ["%s2 = load double, double* %sum, align 8", "%py = load double*, double** %y.addr, align 8", "%i2 = load i32, i32* %i, align 4", "%iw = sext i32 %i2 to i64",
           "%ey = getelementptr inbounds double, double* %py, i64 %iw", "store double %s2, double* %ey, align 8", "br label %inc"]
    return gexf(path, [[*allocas, *i0], i1, row, j1, body, j2, out, i2, ["ret void"]],
                [(0, 1), (1, 2), (1, 8), (2, 3), (3, 4), (3, 6), (4, 5), (5, 3), (6, 7), (7, 1)],
                [(1, "#pragma ACCEL PIPELINE auto{__PIPE__L0}"), (1, "#pragma ACCEL TILE FACTOR=auto{__TILE__L0}"),
                 (3, "#pragma ACCEL PARALLEL reduction=sum FACTOR=auto{__PARA__L1}")], head)


def test_a_matrix_vector_product_by_hand(tmp_path):
    design = read_hls(matvec(tmp_path / "matvec.gexf"), {"__PIPE__L0": "flatten", "__PARA__L1": 4})
    outer, inner = design.loops
    assert (outer.depth, outer.trip_count, outer.iterations, outer.pipeline, outer.parallel) == (1, 8.0, 8, "flatten", 1)
    assert (inner.depth, inner.trip_count, inner.iterations, inner.parallel, inner.reduction, inner.pipeline) == (2, 12.0, 96, 4, True, "off")
    assert (inner.float_ops, inner.array_reads, inner.array_writes) == (2, 2, 0)
    assert inner.distinct_reads == 96 + 12  # a moves with i (through row) and j, x with j alone
    assert (outer.array_writes, outer.distinct_writes) == (1, 8)
    assert (outer.span, inner.span) == (96 + 12 + 8, 12 + 12)  # one run of each: a row of a is 12 elements
    assert (outer.resting, inner.resting, outer.moving, inner.moving) == (12, 0, ("y",), ("a", "x"))  # x does not move with i
    # a row of a is 12 elements and the next begins 8 further: no gap; x and y are one piece each
    assert (outer.bursts, outer.bursts_round, inner.bursts, inner.bursts_round) == (3, 0, 2, 0)
    assert not any((outer.varying, inner.varying, outer.carried))  # y moves with i, and each round of i begins a sum of its own
    assert inner.carried
    assert (outer.writing, inner.writing) == (("y",), ())
    assert not any((outer.met, inner.met, outer.mixed, inner.mixed))
    assert (outer.asked, inner.asked) == (("pipeline", "tile"), ("parallel",))  # whatever they are set to
    assert not any((outer.guarded, inner.guarded, outer.gathered, inner.gathered))
    assert design.workload.flops == 2 * 96
    assert [op.dtype for op in design.workload.ops] == ["float64", "float64"]
    assert design.columns().shape == (2, len(ATTRIBUTES))
    assert "parallel 4" in design.workload.ops[1].source
    assert {t.name: t.bytes for t in design.workload.tensors} == {"a": 96 * 8, "x": 12 * 8, "loop0 holds": 0}


@pytest.mark.parametrize(("read", "write", "carried"), [("sub nsw i32 10, %i1", "sub nsw i32 9, %i1", True), ("sub nsw i32 9, %i1", "sub nsw i32 9, %i1", False), ("sub nsw i32 %i1, 9", "sub nsw i32 9, %i1", True)])
def test_an_array_met_again_at_another_place_makes_rounds_wait(tmp_path, read, write, carried):
    """a[write] = a[read] for 8 rounds: two texts of an index are two places, wherever their number stands."""
    i0, i1, i2 = counted("i", "0", "8")
    body = ["%pa = load double*, double** %a.addr, align 8, !dbg !7", "%i1 = load i32, i32* %i, align 4, !dbg !8", f"%from = {read}, !dbg !9", "%f64 = sext i32 %from to i64", "%ef = getelementptr inbounds double, double* %pa, i64 %f64",
            "%v = load double, double* %ef, align 8", "%pb = load double*, double** %a.addr, align 8", f"%to = {write}, !dbg !10", "%t64 = sext i32 %to to i64", "%et = getelementptr inbounds double, double* %pb, i64 %t64",
            "store double %v, double* %et, align 8", "br label %inc"]
    loop, = read_hls(gexf(tmp_path / "shift.gexf", [["%a.addr = alloca double*, align 8", "%i = alloca i32, align 4", *i0], i1, body, i2, ["ret void"]], [(0, 1), (1, 2), (1, 4), (2, 3), (3, 1)])).loops
    assert (loop.array_reads, loop.array_writes, loop.carried, loop.met) == (1, 1, carried, carried)


@pytest.mark.parametrize("guarded", [True, False])
def test_rounds_that_do_not_all_run_and_indices_that_are_data(tmp_path, guarded):
    """k = idx[i]; a[k] = a[k] * a[k], with `if (k > 3)` before it or without, for 8 rounds: three accesses of `a` at an index that is data, none of `idx`."""
    i0, i1, i2 = counted("i", "0", "8")
    there = [line for at in "12" for line in (f"%pa{at} = load double*, double** %a.addr, align 8", f"%ka{at} = load i32, i32* %k, align 4", f"%kw{at} = sext i32 %ka{at} to i64",
                                              f"%e{at} = getelementptr inbounds double, double* %pa{at}, i64 %kw{at}", f"%v{at} = load double, double* %e{at}, align 8")]
    body = ["%pi = load i32*, i32** %idx.addr, align 8", "%i1 = load i32, i32* %i, align 4", "%w = sext i32 %i1 to i64", "%ei = getelementptr inbounds i32, i32* %pi, i64 %w",
            "%ki = load i32, i32* %ei, align 4", "store i32 %ki, i32* %k, align 4", *(["%c3 = icmp sgt i32 %ki, 3", "br i1 %c3, label %then, label %inc"] if guarded else ["br label %then"])]
    then = [*there, "%m = fmul double %v1, %v2", "store double %m, double* %e2, align 8", "br label %inc"]
    allocas = ["%a.addr = alloca double*, align 8", "%idx.addr = alloca i32*, align 8", "%i = alloca i32, align 4", "%k = alloca i32, align 4"]
    loop, = read_hls(gexf(tmp_path / "scatter.gexf", [[*allocas, *i0], i1, body, then, i2, ["ret void"]], [(0, 1), (1, 2), (1, 5), (2, 3), *([(2, 4)] if guarded else []), (3, 4), (4, 1)])).loops
    assert (loop.trip_count, loop.guarded, loop.gathered, loop.asked) == (8.0, guarded, 3, ())


def test_pragmas_change_the_design_and_not_the_work(tmp_path):
    path = matvec(tmp_path / "matvec.gexf")
    plain, wide = read_hls(path), read_hls(path, json.dumps({"__PARA__L1": 12}))
    assert plain.workload.digest == wide.workload.digest
    assert plain.digest != wide.digest
    assert plain.loops[1].parallel == 1
    assert read_hls(path, {"__PIPE__L0": 2}).digest == read_hls(path, {"__PIPE__L0": "flatten"}).digest
    assert read_hls_workload(path, {"__PARA__L1": 12}, "error", "float32").ops[0].dtype == "float32"


@pytest.mark.parametrize(("start", "bound", "step", "relation", "trips"), [
    ("0", "10", 1, "slt", 10), ("1", "10", 1, "sle", 10), ("0", "10", 3, "slt", 4), ("9", "-1", -1, "sgt", 10), ("8", "0", -2, "sge", 5)])
def test_trip_counts(tmp_path, start, bound, step, relation, trips):
    before, test, after = counted("i", start, bound, step, relation)
    path = gexf(tmp_path / "k.gexf", [["%i = alloca i32, align 4", *before], test, ["br label %inc"], after, ["ret void"]], [(0, 1), (1, 2), (1, 4), (2, 3), (3, 1)])
    assert read_hls(path).loops[0].trip_count == trips


def test_a_loop_that_never_runs_is_none(tmp_path):
    before, test, after = counted("i", "5", "5")
    path = gexf(tmp_path / "k.gexf", [["%i = alloca i32, align 4", *before], test, ["br label %inc"], after, ["ret void"]], [(0, 1), (1, 2), (1, 4), (2, 3), (3, 1)])
    with pytest.raises(GraphError, match="no loop that runs"):
        read_hls(path)


def test_a_triangle_has_its_mean(tmp_path):
    inner = matvec(tmp_path / "lower.gexf", inner_start="%vi2", extra=("%vi2 = load i32, i32* %i, align 4",))
    design = read_hls(inner)
    assert design.loops[1].trip_count == sum(12 - i for i in range(8)) / 8
    assert design.loops[1].iterations == sum(12 - i for i in range(8))
    assert [loop.varying for loop in design.loops] == [False, True]


def test_a_bound_that_is_data_must_be_said(tmp_path):
    path = matvec(tmp_path / "sparse.gexf", inner_bound="%vm", extra=("%vm0 = load i32, i32* %m, align 4",))
    with pytest.raises(GraphError, match=r"sparse.gexf: loop1 .*depends on data"):
        read_hls(path)
    given = read_hls(path, {"loop1": 5}).loops[1]
    assert (given.iterations, given.varying) == (40, True)


@pytest.mark.parametrize(("point", "kind", "says"), [
    ({"__PARA__L9": 2}, UnknownNameError, "__PARA__L1"), ({"loop7": 2}, UnknownNameError, "loop1"), ({"__PARA__L1": 0}, FormatError, "__PARA__L1"),
    ({"__PARA__L1": "two"}, FormatError, "two"), ({"__PIPE__L0": "fast"}, FormatError, "flatten"), ("{", FormatError, "JSON"), ([1], FormatError, "mapping")])
def test_impossible_design_points(tmp_path, point, kind, says):
    with pytest.raises(kind, match=says):
        read_hls(matvec(tmp_path / "matvec.gexf"), point)


def test_a_loop_is_valid_at_birth():
    with pytest.raises(FormatError, match="parallel"):
        HlsLoop("l", 1, 2.0, 2, 0, 0, 0, 0, 0, 0, parallel=0)
    with pytest.raises(FormatError, match="pipeline"):
        HlsLoop("l", 1, 2.0, 2, 0, 0, 0, 0, 0, 0, pipeline="on")


def hostile(tmp_path: Path) -> dict[str, Path]:
    """Files that are no program graph, or made to hurt."""
    good = matvec(tmp_path / "good.gexf").read_text()
    bomb = '<!DOCTYPE gexf [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    texts = {
        "empty": "", "words": "not xml at all", "html": "<html><body/></html>", "cut": good[: len(good) // 2], "bomb": matvec(tmp_path / "b.gexf", head=bomb).read_text(),
        "external": good.replace("<gexf", '<!DOCTYPE gexf SYSTEM "file:///etc/hostname"><gexf', 1), "deep": "<a>" * 100_000, "huge_number": good.replace('value="8"', f'value="{"9" * 5000}"', 1),
        "wide": good.replace("<nodes>", "<nodes>" + "<node id=''/>" * 70_000), "long_text": good.replace("fadd", "f" * 10_000, 1), "twice": good.replace('node id="1"', 'node id="0"', 1),
        "nowhere": good.replace('target="', 'target="9', 1), "no_type": good.replace('title="type"', 'title="typo"'), "only_nodes": "<gexf><graph><nodes/></graph></gexf>"}
    for name, text in texts.items():
        (tmp_path / f"{name}.gexf").write_text(text, encoding="utf-8")
    return {name: tmp_path / f"{name}.gexf" for name in texts}


def test_hostile_files_are_one_clear_error(tmp_path):
    for name, path in hostile(tmp_path).items():
        with pytest.raises(InputError) as caught:
            read_hls(path)
        assert str(path) in str(caught.value), name
        assert "\n" not in str(caught.value), name
        assert len(str(caught.value)) < 400, name
    with pytest.raises(FormatError, match="entity"):
        read_hls(tmp_path / "bomb.gexf")
    with pytest.raises(FormatError, match=r"none\.gexf"):
        read_hls(tmp_path / "none.gexf")


def test_a_nest_too_deep_and_too_many_loops(tmp_path):
    deep = [["%i = alloca i32, align 4", "store i32 0, i32* %i, align 4", "br label %c"]] + [["br label %x"]] * 1500
    with pytest.raises(GraphError, match="loops"):
        read_hls(gexf(tmp_path / "many.gexf", deep, [(i, i + 1) for i in range(1500)] + [(i + 1, i) for i in range(1, 1500)]))


def trips_of(source: str) -> list[int | None]:
    """Trip counts of the for-loops of a C source, in order; None where the bounds are no numbers."""
    found: list[int | None] = []
    for start, test, step in re.findall(r"for \(([^;]*);([^;]*);([^)]*)\)", re.sub(r"/\*.*?\*/|//[^\n]*", "", source, flags=re.DOTALL)):
        first, bound = re.fullmatch(r"(?:long )?\w+ = (\d+)", start.strip()), re.fullmatch(r"\w+ (<=?) (\d+)(?: ([+-]) (\d+))?", test.strip())
        plain = first and bound and ("++" in step)
        found.append(int(bound[2]) + int(f"{bound[3]}{bound[4]}" if bound[3] else 0) - int(first[1]) + (bound[1] == "<=") if plain and first and bound else None)
    return found


def test_trip_counts_are_those_of_the_c_sources(tmp_path):
    archive = DATA / "hlsyn" / "graphs.tar.gz"
    if not archive.exists():
        pytest.skip("no open table hlsyn/graphs.tar.gz: set SILICAST_DATA")
    checked = 0
    with tarfile.open(archive) as tar:
        for name in ("2mm", "adi", "atax", "correlation", "fdtd-2d", "gemver", "jacobi-1d", "md", "seidel-2d", "stencil-3d", "symm", "trmm"):
            (tmp_path / "k.gexf").write_bytes(tar.extractfile(f"graphs/{name}_processed_result.gexf").read())
            said = trips_of(tar.extractfile(f"sources/{name}_kernel.c").read().decode())
            ours = [loop.trip_count for loop in read_hls(tmp_path / "k.gexf").loops if loop.name.startswith("loop")]
            assert len(said) == len(ours), name
            assert all(theirs in (None, mine) for theirs, mine in zip(said, ours, strict=True)), name
            checked += sum(theirs is not None for theirs in said)
    assert checked > 50


def test_rounds_that_wait_for_one_another_are_those_of_the_c_sources(tmp_path):
    """By eye from the sources: `tmp[i][j] +=` waits over k, time steps wait, `C[k][j] +=` waits over i, and may meet `C[i][j]` of the loop over j; so may elements beside one another of
    seidel-2d, and the `B[i][j]` and `B[k][j]` of trmm; triangles of covariance and correlation vary. `temp2 +=` of symm-opt waits
    over k, too. The sums of bicg are not named and stand beside `s[j]`, the one of symm is named."""
    archive = DATA / "hlsyn" / "graphs.tar.gz"
    if not archive.exists():
        pytest.skip("no open table hlsyn/graphs.tar.gz: set SILICAST_DATA")
    carried = {"2mm": [2, 5], "jacobi-1d": [0], "symm-opt": [0, 1, 3], "gemm-p": [2], "stencil-3d": [], "seidel-2d": [0, 1, 2], "trmm": [0, 1, 2], "nw": [2, 3], "correlation": [1, 3, 6, 7, 8]}
    varying = {"covariance": [5], "correlation": [7], "2mm": []}
    with tarfile.open(archive) as tar:
        for name in {**carried, **varying, "bicg-medium": [], "symm": []}:
            (tmp_path / "k.gexf").write_bytes(tar.extractfile(f"graphs/{name}_processed_result.gexf").read())
            loops = [loop for loop in read_hls(tmp_path / "k.gexf").loops if loop.name.startswith("loop")]
            assert carried.get(name) in (None, [i for i, loop in enumerate(loops) if loop.carried]), name
            assert {"bicg-medium": [2], "symm": [], "trmm": []}.get(name) in (None, [i for i, loop in enumerate(loops) if loop.mixed]), name
            assert {"bicg-medium": [], "trmm": [2], "2mm": []}.get(name) in (None, [i for i, loop in enumerate(loops) if loop.met and loop.depth > 1]), name
            assert varying.get(name) in (None, [i for i, loop in enumerate(loops) if loop.varying]), name


def test_pieces_of_memory_are_those_of_the_c_sources(tmp_path):
    """`m2[64 k + j]` of gemm-ncubed: over k its elements lie 64 apart, a tile of j has 64 pieces, all rounds of j together have one. `A[j][k]` of syrk: a tile of k has a piece for each of
    80 rows; so has `sol[34 (34 i + j) + k]` of stencil-3d for each round of j, for rows of 32 of 34 elements do not meet."""
    archive = DATA / "hlsyn" / "graphs.tar.gz"
    if not archive.exists():
        pytest.skip("no open table hlsyn/graphs.tar.gz: set SILICAST_DATA")
    by_hand = {"gemm-ncubed": [(3, 0), (64 + 2, 0), (1, 1)], "syrk": [(2, 0), (1, 0), (80 + 1, 0), (1, 1)], "stencil-3d": [(0, 64), (0, 2), (2, 0)]}
    with tarfile.open(archive) as tar:
        for name, pieces in by_hand.items():
            (tmp_path / "k.gexf").write_bytes(tar.extractfile(f"graphs/{name}_processed_result.gexf").read())
            assert [(loop.bursts, loop.bursts_round) for loop in read_hls(tmp_path / "k.gexf").loops if loop.name.startswith("loop")] == pieces, name


def test_arrays_of_two_nests_and_arrays_at_indices_that_are_data_are_those_of_the_c_sources(tmp_path):
    """Both nests of mvt use the 400 x 400 elements of `A`, one of them `x1` and `y_1`, the latter whole in each round; `vec[cols[10 i + j]]` of spmv-ellpack may touch anything, so of a run
    of all rounds 4,940 of `nzval` and `cols` each and 494 of `out` are told, of one over j 10 and 10."""
    archive = DATA / "hlsyn" / "graphs.tar.gz"
    if not archive.exists():
        pytest.skip("no open table hlsyn/graphs.tar.gz: set SILICAST_DATA")
    by_hand = {"mvt-medium": [(800, 400, 160_000, 0), (400 + 1, 1, 400, 0)] * 2, "spmv-ellpack": [(2 * 4940 + 494, 0, 0, 0), (20, 0, 0, 0)]}
    with tarfile.open(archive) as tar:
        for name, told in by_hand.items():
            (tmp_path / "k.gexf").write_bytes(tar.extractfile(f"graphs/{name}_processed_result.gexf").read())
            loops = [loop for loop in read_hls(tmp_path / "k.gexf").loops if loop.name.startswith("loop")]
            assert [(loop.span, loop.resting, loop.copied, loop.copied_resting) for loop in loops] == told, name


def test_every_published_kernel_reads(tmp_path):
    archive = DATA / "hlsyn" / "graphs.tar.gz"
    if not archive.exists():
        pytest.skip("no open table hlsyn/graphs.tar.gz: set SILICAST_DATA")
    # operations by hand from the C sources, for three kernels
    flops = {"2mm": 40 * 50 * 70 * 3 + 40 * 80 + 40 * 80 * 50 * 2, "gemm-ncubed": 2 * 64**3, "jacobi-1d": 2 * 40 * 118 * 3}
    count = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.endswith(".gexf"):
                path = tmp_path / Path(member.name).name
                content = tar.extractfile(member)
                assert content is not None
                path.write_bytes(content.read())
                name = path.name.removesuffix("_processed_result.gexf")
                design = read_hls(path, {"loop1": 3} if name == "spmv-crs" else None)
                assert design.workload.flops == flops.get(name, design.workload.flops) > 0
                count += 1
    assert count == 35
