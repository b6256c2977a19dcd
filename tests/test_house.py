"""The house rules, walked: arrows of imports, homes of heavy libraries, nothing that runs a stranger's code, a docstring at every public name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
#: lowest first; a folder imports itself and those before it
FLOORS = ("datasets", "features", "surrogates", "training", "serving", "silicast")
#: library -> the files that may import it, lazily or not
HOMES: dict[str, tuple[str, ...]] = {
    "torch": ("datasets/frontends/torch*.py", "datasets/measure/torch*.py", "features/graph.py", "surrogates/graph*.py", "surrogates/neural.py",
              "surrogates/network.py", "training/distilling.py"),
    "onnxruntime": ("surrogates/compiled_trees.py", "datasets/measure/onnx*.py",),
    "lleaves": ("surrogates/native_trees.py",),
    "pynvml": ("datasets/measure/power.py",),
    "torch_geometric": ("features/graph.py", "surrogates/graph*.py", "surrogates/neural.py"),
    "safetensors": ("surrogates/graph*.py", "surrogates/neural.py", "surrogates/kernel.py", "surrogates/neighbours.py", "surrogates/adapted.py", "surrogates/store.py"),
    "lightgbm": ("surrogates/boosted.py",),
    # pyfunc.py is the model flavour itself: MLflow loads it by path and it must subclass PythonModel
    "mlflow": ("training/tracking.py", "training/registry.py", "training/pyfunc.py"),
    "matplotlib": ("training/pictures.py", "serving/search/picture.py"),
    "optuna": ("serving/search/optuna.py",),
    "pymoo": ("serving/search/pymoo.py",),
    "gymnasium": ("serving/search/gymnasium.py",),
    "xdsl": ("datasets/frontends/mlir*.py",),
    "onnx": ("datasets/frontends/onnx*.py", "datasets/measure/onnx*.py", "surrogates/compiled_trees.py"),
    **dict.fromkeys(("fastapi", "starlette"), ("serving/http*.py",)),
    "uvicorn": ("serving/http.py", "serving/http_wire.py", "serving/verbs.py"),  # the verb `serve` starts it
}
#: modules whose loading runs code that a file holds, or that write such files
CODE_IN_DATA = ("pickle", "cPickle", "_pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal")
MOST_LINES = 450


@cache
def sources() -> dict[str, Path]:
    """Path below the root -> file, for every source file of the house."""
    found = {}
    for floor in FLOORS:
        for path in sorted((ROOT / floor).rglob("*.py")):
            relative = path.relative_to(ROOT).as_posix()
            if not (floor == "silicast" and relative.split("/")[1] in FLOORS):  # the links lead to the folders above
                found[relative] = path
    return found


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(sources()[name].read_text(encoding="utf-8"))


def module(name: str) -> str:
    """`features/graph.py` -> `silicast.features.graph`."""
    dotted = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return dotted if dotted.split(".")[0] == "silicast" else f"silicast.{dotted}"


@cache
def modules() -> dict[str, str]:
    return {module(name): name for name in sources()}


def imported(name: str, node: ast.Import | ast.ImportFrom) -> list[str]:
    """The dotted modules that a statement loads, relative ones resolved."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        package = module(name).split(".")
        package = package if name.endswith("__init__.py") else package[:-1]
        base = ".".join([*package[:len(package) - node.level + 1], *([base] if base else [])])
    if base == "silicast":
        return [f"silicast.{alias.name}" for alias in node.names]
    return [f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules() else base for alias in node.names]


def imports(name: str, top_only: bool = False) -> list[tuple[int, str]]:
    """(line, module) of every import in a file; `top_only`: those that run when it is imported."""
    def walk(node: ast.AST) -> list[ast.AST]:
        inner = [child for child in ast.iter_child_nodes(node)
                 if not (top_only and (isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or "TYPE_CHECKING" in ast.dump(getattr(child, "test", ast.Pass()))))]
        return inner + [deeper for child in inner for deeper in walk(child)]

    return [(node.lineno, target) for node in walk(tree(name)) if isinstance(node, (ast.Import, ast.ImportFrom)) for target in imported(name, node)]


def floor_of(target: str) -> int | None:
    parts = target.split(".")
    if parts[0] != "silicast":
        return None
    return FLOORS.index(parts[1]) if len(parts) > 1 and parts[1] in FLOORS else len(FLOORS) - 1


def public(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith("_")


every_file = pytest.mark.parametrize("name", sources())


def test_the_walk_finds_the_house() -> None:
    assert {"datasets/ops.py", "features/bounds.py", "surrogates/store.py", "training/pipeline.py", "serving/cli.py", "silicast/__init__.py"} <= set(sources())
    assert (78, "silicast.datasets.errors") not in imports("surrogates/boosted.py")  # lines are real ones
    assert "silicast.datasets.errors" in {target for _, target in imports("surrogates/boosted.py")}
    assert "lightgbm" in {target for _, target in imports("surrogates/boosted.py")}
    assert "lightgbm" not in {target for _, target in imports("surrogates/boosted.py", top_only=True)}


@every_file
def test_no_import_points_up(name: str) -> None:
    mine = FLOORS.index(name.split("/")[0])
    # the face holds the version, which every floor may tell; it loads nothing
    up = [f"line {line}: {target}" for line, target in imports(name) if (floor_of(target) or 0) > mine and target != "silicast.__version__"]
    assert not up, f"{name} imports what stands above it: {up}"


def test_no_import_cycles() -> None:
    arrows = {m: sorted({t for _, t in imports(name, top_only=True) if t in modules() and t != m}) for m, name in modules().items()}
    done: set[str] = set()

    def visit(m: str, trail: tuple[str, ...]) -> None:
        assert m not in trail, f"import cycle: {' -> '.join((*trail[trail.index(m):], m))}"
        if m not in done:
            for target in arrows[m]:
                visit(target, (*trail, m))
            done.add(m)

    for start in arrows:
        visit(start, ())


@every_file
def test_heavy_libraries_stay_at_home(name: str) -> None:
    for line, target in imports(name):
        homes = HOMES.get(target.split(".")[0])
        assert homes is None or any(Path(name).match(home) for home in homes), f"{name}:{line} imports {target}; its homes are {', '.join(homes or ())}"


@every_file
def test_heavy_libraries_are_not_loaded_by_an_import(name: str) -> None:
    early = {target.split(".")[0] for _, target in imports(name, top_only=True)} & {*HOMES, "sklearn"}
    # these are loaded by nothing but the functions that need them
    allowed = name in ("training/pyfunc.py", "serving/http.py", "serving/http_wire.py") or Path(name).match("datasets/frontends/onnx*.py") or Path(name).match("datasets/frontends/mlir*.py")
    assert not early or allowed, f"{name} loads {', '.join(early)} when imported"


@every_file
def test_nothing_runs_code_out_of_data(name: str) -> None:
    for line, target in imports(name):
        assert target.split(".")[0] not in CODE_IN_DATA, f"{name}:{line} imports {target}"
    for node in ast.walk(tree(name)):
        if not isinstance(node, ast.Call):
            continue
        called, said = ast.unparse(node.func), f"{name}:{node.lineno}: {ast.unparse(node)[:100]}"
        assert called not in ("eval", "exec", "compile", "__import__", "torch.load", "torch.save", "yaml.unsafe_load", "yaml.full_load", "os.system"), said
        assert called.split(".")[-1] not in ("read_pickle", "to_pickle"), said
        for keyword in node.keywords:
            if keyword.arg in ("allow_pickle", "shell"):
                assert isinstance(keyword.value, ast.Constant), said
                assert keyword.value.value is False, said
        if called == "yaml.load":  # with a loader of our own, which must be a safe one
            text = sources()[name].read_text(encoding="utf-8")
            assert "SafeLoader" in text, said
            assert not re.search(r"UnsafeLoader|FullLoader|yaml\.Loader", text), said


@every_file
def test_every_public_name_has_a_docstring(name: str) -> None:
    if not tree(name).body:
        return  # an empty __init__.py
    names = [node for node in tree(name).body if public(node)]
    names += [inner for node in names if isinstance(node, ast.ClassDef) for inner in node.body if public(inner)]
    bare = [f"line {node.lineno}: {node.name}" for node in names if not ast.get_docstring(node)]  # type: ignore[attr-defined,arg-type]
    assert ast.get_docstring(tree(name)), f"{name} has no docstring"
    assert not bare, f"{name}: without a docstring: {', '.join(bare)}"


@every_file
def test_a_file_is_one_room(name: str) -> None:
    lines = len(sources()[name].read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{name} has {lines} lines; {MOST_LINES} are the most"


def loaded(code: str) -> set[str]:
    """Which of the heavy libraries a fresh interpreter has loaded after `code`."""
    show = "import sys; print('LOADED', *sorted({'torch', 'mlflow', 'lightgbm', 'sklearn', 'pandas', 'onnx', 'matplotlib', 'fastapi'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-P", "-c", f"{code}\n{show}"], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_importing_silicast_loads_nothing_heavy() -> None:
    assert loaded("import silicast") == set()


def test_help_loads_no_learning_library() -> None:
    code = "import runpy, sys\nsys.argv = ['silicast', '--help']\ntry:\n    runpy.run_module('silicast', run_name='__main__')\nexcept SystemExit as end:\n    assert not end.code, end.code"
    assert not loaded(code) & {"torch", "mlflow", "lightgbm", "sklearn"}


def test_no_text_names_a_place_of_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, timeout=60)
    if listed.returncode:
        pytest.skip("not a git checkout: no list of tracked files")
    place = re.compile("(?<![\\w.])/(?:" + "|".join(("wo" "rk", "ro" "ot")) + ")(?:/|\\b(?![-\\w]))")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_symlink() or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # not text
        found += [f"{name}:{i}: {line.strip()[:100]}" for i, line in enumerate(text.splitlines(), 1) if place.search(line)]
    assert not found, found
