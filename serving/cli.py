"""The command line: `silicast VERB ...`. Here stand the names of verbs and arguments and their help; what they do is in `verbs.py`.

Nothing heavy loads before a verb runs: `silicast --help` needs typer and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import compile_cli, drift_cli, explaining, llm, models_cli, ready_cli, summing_cli
from .reply import Reply, misused, spoken


class _Root(TyperGroup):
    """All verbs. A wrong argument is said as every other mistake is: in one line, with exit code 2."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, complete_var: str | None = None, standalone_mode: bool = True,
             windows_expand_args: bool = True, **extra: Any) -> Any:
        given: dict[str, Any] = {"prog_name": prog_name, "complete_var": complete_var, "windows_expand_args": windows_expand_args, **extra}
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **given)
        try:
            done = super().main(args, standalone_mode=False, **given)
        except Exception as error:
            raise SystemExit(misused(error)) from None
        raise SystemExit(done if isinstance(done, int) else 0)


app = typer.Typer(name="silicast", cls=_Root, add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["-h", "--help"]},
                  help="Forecasts what a workload will cost on a piece of hardware: latency, energy, power, memory and FPGA resources, with an interval, "
                       "and says when it does not know. Exit codes: 0 done, 2 your input (one line says what to mend), 1 a fault of silicast or of the model store.")
hardware = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The device catalogue.")
models = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The model registry.")
app.add_typer(hardware, name="hardware")
app.add_typer(models, name="models")
app.add_typer(llm.app, name="llm")
app.add_typer(drift_cli.app, name="drift")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, in SI units; logs go to stderr.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A workload: .onnx, .mlir, .et, .gexf, .yml (hls4ml), or .json (a workload document, a model's config.json, a trace, a Keras architecture).",
                                       show_default=False)]
Phase = Annotated[str | None, typer.Option("--phase", metavar="prefill|decode|train", help="Of a model's config.json; --dim batch=, tokens=, past= give the sizes.", show_default=False)]
On = Annotated[list[str] | None, typer.Option("--on", metavar="KEY[,KEY]", help="Devices: catalogue keys, aliases or paths of device YAML files; repeatable.", show_default=False)]
Dim = Annotated[list[str] | None, typer.Option("--dim", metavar="NAME=N", help="Size of a free dimension, such as batch=8; repeatable.", show_default=False)]
UnknownOps = Annotated[str, typer.Option("--unknown-ops", metavar="error|bound", help="An operator that cannot be counted: an error that names it, or bounded by its traffic and flagged.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="What if it ran in this precision: float16, int8, int4_wo, ...", show_default=False)]
Target = Annotated[list[str] | None, typer.Option("--target", metavar="T", help="What to answer, such as latency_s; repeatable.", show_default=False)]
Model = Annotated[str | None, typer.Option("--model", metavar="REF-or-DIR", help="models:/NAME@alias, models:/NAME/VERSION, ready:NAME or a model folder "
                                           "[default: models:/silicast-boosted@champion of the store here, else the ready-made model for such questions].", show_default=False)]
Schema = Annotated[Path | None, typer.Option("--schema", metavar="YAML", help="What the table's columns mean [default: the schema in the model's card].", show_default=False)]
SkipBadRows = Annotated[bool, typer.Option("--skip-bad-rows", help="Leave out rows that cannot be used, and say how many, instead of stopping.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same result.")]


def _version(asked: bool) -> None:
    if asked:
        from .. import __version__

        typer.echo(f"silicast {__version__}")
        raise typer.Exit


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False) -> None:
    pass


@hardware.command("list")
@spoken
def hardware_list(as_json: Json = False) -> Reply:
    """Every device and cluster of the catalogue."""
    from . import machines

    return machines.hardware_list()


@hardware.command("show")
@spoken
def hardware_show(key: Annotated[str, typer.Argument(metavar="KEY", help="A key, an alias, or a path of a device YAML file.")], as_json: Json = False) -> Reply:
    """One device or cluster, with the source of every figure."""
    from . import machines

    return machines.hardware_show(key)


@app.command("inspect")
@spoken
def inspect(file: File, dim: Dim = None, unknown_ops: UnknownOps = "error", dtype: Dtype = None, phase: Phase = None,
            ops: Annotated[bool, typer.Option("--ops", help="Every operator: FLOPs, bytes, parameters, arithmetic intensity.")] = False,
            svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Draw the graph.", show_default=False)] = None,
            roofline: Annotated[str | None, typer.Option("--roofline", metavar="KEY", help="Every operator under the roofline of a device.", show_default=False)] = None,
            plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="The roofline as a picture, .png or .svg.", show_default=False)] = None,
            as_json: Json = False) -> Reply:
    """Ops, FLOPs, bytes and parameters of a workload file.

    Also as a graph (--svg) and under a device's roofline (--roofline KEY --plot FILE).
    """
    from . import inspecting

    return inspecting.inspect(file, dim or (), unknown_ops, dtype, ops, svg, roofline, plot, phase)


@app.command("simulate")
@spoken
def simulate(file: File, on: On = None, dim: Dim = None, unknown_ops: UnknownOps = "error", dtype: Dtype = None, phase: Phase = None,
             ops: Annotated[bool, typer.Option("--ops", help="Every operator's share as well.")] = False,
             objective: Annotated[str, typer.Option("--objective", metavar="latency|energy|edp", help="What the search for mappings minimises.")] = "latency",
             clock_mhz: Annotated[float | None, typer.Option("--clock-mhz", help="What if the devices ran at this clock?", show_default=False)] = None,
             power_limit_w: Annotated[float | None, typer.Option("--power-limit-w", help="What if they were capped at this power?", show_default=False)] = None,
             as_json: Json = False) -> Reply:
    """The reference simulator's answer on devices."""
    from . import verbs

    return verbs.simulate(file, on or (), dim or (), unknown_ops, dtype, ops, objective, clock_mhz, power_limit_w, phase)


@app.command("generate")
@spoken
def generate(out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the table; a run that was cut short goes on here.")],
             count: Annotated[int, typer.Option("--count", min=1, help="Labelled rows (workload x device).")] = 2000, seed: Seed = 0,
             workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes [default: all cores].", show_default=False)] = None,
             devices: Annotated[list[str] | None, typer.Option("--devices", metavar="KEY[,KEY]", help="[default: a list of 95 of all kinds]", show_default=False)] = None,
             families: Annotated[list[str] | None, typer.Option("--families", metavar="NAME[,NAME]", help="[default: all]", show_default=False)] = None,
             sampled: Annotated[int | None, typer.Option("--sampled", min=0, help="Made-up devices per kind, drawn around the catalogue's.", show_default=False)] = None,
             per_workload: Annotated[int | None, typer.Option("--per-workload", min=1, help="Devices each workload is put on.", show_default=False)] = None,
             as_json: Json = False) -> Reply:
    """A labelled table from the simulator.

    Sharded, resumable, and the same for any number of workers.
    """
    from . import verbs

    return verbs.generate(out, count, seed, workers, devices or (), families or (), sampled, per_workload)


@app.command("train")
@spoken
def train(experiment: Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="An experiment file (YAML).")], as_json: Json = False) -> Reply:
    """An experiment: data, models, report, registry."""
    from . import verbs

    return verbs.train(experiment)


@app.command("fit")
@spoken
def fit(table: Annotated[Path, typer.Argument(metavar="TABLE", help="A measured table, CSV or Parquet.")],
        schema: Annotated[Path, typer.Option("--schema", metavar="YAML", help="What the table's columns mean.")],
        out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The model folder to write.")],
        target: Annotated[list[str] | None, typer.Option("--target", metavar="T", help="What to learn; repeatable [default: every target of the schema].", show_default=False)] = None,
        skip_bad_rows: SkipBadRows = False,
        seed: Seed = 0, level: Annotated[float, typer.Option("--level", min=0.5, max=0.999, help="Share of answers the intervals should hold.")] = 0.9,
        as_json: Json = False) -> Reply:
    """A model from a measured table.

    Its intervals and errors come from rows it never saw.
    """
    from . import verbs

    return verbs.fit(table, schema, target or (), out, seed, level, skip_bad_rows)


@app.command("predict")
@spoken
def predict(asked: Annotated[Path, typer.Argument(metavar="FILE-or-TABLE", help="A workload file (with --on), or a table (.csv, .parquet): one answer per row.")],
            on: On = None, model: Model = None, schema: Schema = None,
            out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write T, T_low, T_high, domain, domain_reason and calibrated as CSV or Parquet.", show_default=False)] = None,
            target: Target = None, dim: Dim = None, unknown_ops: UnknownOps = "error", dtype: Dtype = None, phase: Phase = None,
            fallback: Annotated[str | None, typer.Option("--fallback", metavar="simulate", help="Who answers outside the model's domain instead.", show_default=False)] = None,
            as_json: Json = False) -> Reply:
    """Answers with intervals and domain flags."""
    from . import verbs

    return verbs.predict(asked, on or (), model, schema, out, dim or (), unknown_ops, dtype, target or (), fallback, phase)


app.command("explain")(explaining.command)


@app.command("evaluate")
@spoken
def evaluate(model: Annotated[str, typer.Argument(metavar="MODEL", help="A model folder or models:/NAME@alias.")],
             table: Annotated[Path, typer.Argument(metavar="TABLE", help="A measured table.")], schema: Schema = None,
             skip_bad_rows: SkipBadRows = False, as_json: Json = False) -> Reply:
    """A model's errors on a measured table.

    By slice, with the coverage of its intervals.
    """
    from . import verbs

    return verbs.evaluate(model, table, schema, skip_bad_rows)


@models.command("list")
@spoken
def models_list(as_json: Json = False) -> Reply:
    """Every registered model, and the ready-made ones."""
    from . import verbs

    return verbs.models_list()


compile_cli.add_to(app)
summing_cli.add_to(app)
models_cli.add_to(models)
ready_cli.add_to(models)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A registered model, or (show) ready:NAME.")]


@models.command("show")
@spoken
def models_show(name: Name, as_json: Json = False) -> Reply:
    """One model: its versions, and the card of its champion."""
    from . import verbs

    return verbs.models_show(name)


@models.command("promote")
@spoken
def models_promote(name: Name, version: Annotated[str, typer.Argument(metavar="VERSION")],
                   force: Annotated[bool, typer.Option("--force", help="Promote although the gate refuses; recorded as forced.")] = False, as_json: Json = False) -> Reply:
    """Move @champion to a version, if the gate lets it."""
    from . import verbs

    return verbs.models_promote(name, version, force)


@models.command("rollback")
@spoken
def models_rollback(name: Name, as_json: Json = False) -> Reply:
    """Back to the champion before."""
    from . import verbs

    return verbs.models_rollback(name)


@app.command("serve")
@spoken
def serve(model: Annotated[list[str] | None, typer.Option("--model", metavar="REF-or-DIR", help="models:/NAME@alias, models:/NAME/VERSION, ready:NAME or a model folder; repeatable, the first "
                                                          "answers where a question names none [default: models:/silicast-boosted@champion, else ready:networks].", show_default=False)] = None,
          host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 opens it to the network: give --token-file then.")] = "127.0.0.1",
          port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8000,
          workers: Annotated[int, typer.Option("--workers", min=1, max=256, help="Processes; one that dies is replaced.")] = 1,
          token_file: Annotated[Path | None, typer.Option("--token-file", metavar="FILE", help="Tokens, one per line; requests must carry one (authorization: Bearer).", show_default=False)] = None,
          drift_store: Annotated[Path | None, typer.Option("--drift", metavar="FILE", help="Keep predictions and measured truth here (SQLite); see `silicast drift`.", show_default=False)] = None,
          body_limit_mb: Annotated[int, typer.Option("--body-limit-mb", min=1, max=1024, help="Largest request.")] = 16,
          upload_limit_mb: Annotated[int, typer.Option("--upload-limit-mb", min=1, max=8192, help="Largest ONNX file or bulk request.")] = 64,
          in_flight: Annotated[int, typer.Option("--max-in-flight", min=1, help="Requests at once; more are told to come back (429).")] = 1024,
          timeout_s: Annotated[float, typer.Option("--timeout-s", min=0.1, help="Seconds an answer may take; bulk, uploads and simulations four times as long.")] = 30.0,
          poll_s: Annotated[float, typer.Option("--poll-s", min=0.0, help="Seconds between looks at the registry for a champion that has moved; 0: never.")] = 5.0,
          log: Annotated[str, typer.Option("--log", metavar="requests|errors|none", help="What is logged on stderr, one JSON object per line.")] = "requests", as_json: Json = False) -> Reply:
    """Answer over HTTP.

    POST /v1/predict and /v1/predict/bulk, GET /readyz, /metrics, /openapi.json, /docs, and more. Loads the models first, then listens.
    """
    from . import verbs

    return verbs.serve(model or (), host, port, workers, token_file, drift_store, body_limit_mb * 1_000_000, upload_limit_mb * 1_000_000, in_flight, timeout_s, poll_s, log)


@app.command("demo")
@spoken
def demo(out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for everything the demo makes.")] = Path("silicast_demo"),
         onnx: Annotated[Path | None, typer.Option("--onnx", metavar="FILE", help="Your network [default: one the demo makes].", show_default=False)] = None,
         count: Annotated[int, typer.Option("--count", min=1, help="Labelled rows to generate.")] = 16_000, seed: Seed = 0,
         quick: Annotated[bool, typer.Option("--quick", help="Smaller models, about a minute.")] = False, as_json: Json = False) -> Reply:
    """The main job on embedded defaults.

    Generates data, trains, registers, predicts a real ONNX model and reports.
    """
    from . import verbs

    return verbs.demo(out, onnx, count, seed, quick)


@app.command("calibrate")
@spoken
def calibrate(model: Annotated[str, typer.Argument(metavar="MODEL", help="A model folder or models:/NAME@alias.")],
              table: Annotated[Path, typer.Argument(metavar="TABLE", help="Measurements of what is new; with --suggest, candidates to be measured.")], schema: Schema = None,
              out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The corrected model's folder; with --suggest, a table to write the rows to.", show_default=False)] = None,
              shots: Annotated[int | None, typer.Option("--shots", min=1, help="Learn from the most telling N rows, judge on the others [default: learn from all].", show_default=False)] = None,
              suggest: Annotated[int | None, typer.Option("--suggest", min=1, metavar="N", help="Say which N rows to measure next, and learn nothing.", show_default=False)] = None,
              skip_bad_rows: SkipBadRows = False, seed: Seed = 0, as_json: Json = False) -> Reply:
    """Correct a model by few measurements of something new.

    A machine, a software stack, a family of networks: 10 to 100 rows.
    """
    from . import verbs

    return verbs.calibrate(model, table, schema, out, shots, suggest, seed, skip_bad_rows)


@app.command("measure")
@spoken
def measure(file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="An ONNX model; or none, with --plan.", show_default=False)] = None,
            out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder of the measured table; one that has rows already grows.", show_default=False)] = None,
            plan: Annotated[str | None, typer.Option("--plan", metavar="NAME", help="gemm-grid, conv-grid, attention-grid, softmax-grid, norm-grid, elementwise-grid or networks.", show_default=False)] = None,
            on: Annotated[str, typer.Option("--on", metavar="local", help="Where: this machine.")] = "local",
            device: Annotated[str, typer.Option("--device", metavar="cpu|cuda")] = "cpu",
            budget_s: Annotated[float, typer.Option("--budget-s", help="About how long a plan may take.")] = 60.0,
            dim: Dim = None, repeats: Annotated[int, typer.Option("--repeats", min=3, help="Samples of each time at most.")] = 30,
            threads: Annotated[int | None, typer.Option("--threads", min=1, help="Cores to run on, pinned [default: all].", show_default=False)] = None,
            hardware: Annotated[str, typer.Option("--hardware", metavar="NAME", help="What the table calls this machine, such as a catalogue key [default: its own name].", show_default=False)] = "",
            seed: Seed = 0, as_json: Json = False) -> Reply:
    """Measure on this machine: an ONNX model, or a plan.

    Makes a table with its schema and provenance that `silicast fit` takes at once.
    """
    from . import measuring

    return measuring.measure(file, out, plan, on, device, budget_s, dim or (), repeats, threads, hardware, seed)


@app.command("search")
@spoken
def search(space: Annotated[Path, typer.Argument(metavar="SPACE", help="A search in YAML: what varies, what it builds, objectives, constraints.")],
           budget: Annotated[int, typer.Option("--budget", min=1, help="Candidates to evaluate.")] = 100,
           model: Annotated[str | None, typer.Option("--model", metavar="REF-or-DIR", help="Who answers: simulator, models:/NAME@alias or a model folder; a model's front is "
                                                     "simulated again [default: simulator].", show_default=False)] = None,
           out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write front.csv, front.json, front.png, front.svg and evaluated.csv; beside them verified points as a data set.",
                                                    show_default=False)] = None,
           method: Annotated[str, typer.Option("--method", metavar="linas|evolve|random|nsga2|tpe|all", help="Who proposes candidates; all: every one.")] = "linas",
           batch: Annotated[int, typer.Option("--batch", min=0, help="Candidates evaluated at once; 0: a tenth of the budget.")] = 0,
           seed: Annotated[int | None, typer.Option("--seed", min=0, help="[default: the file's]", show_default=False)] = None,
           acquisition: Annotated[str, typer.Option("--acquisition", metavar="expected_improvement|lower_bound", help="How linas weighs doubt.")] = "expected_improvement",
           doubts: Annotated[int, typer.Option("--doubts", min=0, help="Points off a model's front that its intervals leave a chance, simulated too.")] = 8,
           compare: Annotated[bool, typer.Option("--compare", help="Also simulate the whole space, and say what the search missed.")] = False, as_json: Json = False) -> Reply:
    """A Pareto front over machines, networks or deployments.

    As table, JSON, CSV and picture; docs/search.md has the file's format and three examples.
    """
    from .search import verb

    return verb.search(space, budget, model, out, method, batch, seed, acquisition, compare, doubts)
