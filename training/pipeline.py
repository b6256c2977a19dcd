"""The story: from an experiment file to registered models, as one short function of named steps.

    story = run(Experiment.load("docs/experiment.yaml"), say=print)

Read `run` first; each step is a function below it, with typed values between. Everything that can be known to fail is looked at
before anything is learned: the settings of every surrogate, the devices to hold out, the model store. A model is registered only
after its folder, its figures and the report are complete, so a run that is killed leaves no half-registered model.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.errors import InputError, UnknownNameError
from ..datasets.splits import hold_out, split_by_group
from ..datasets.table import Table, target_unit
from ..features import FEATURE_VERSION
from ..surrogates import store
from ..surrogates.card import ModelCard
from ..surrogates.trust import guarded, witnessed
from . import metrics, registry, tracking
from .config import Experiment, SurrogateSpec
from .story import Judgement, Parts, Story, StoryModel, Trained

Say = Callable[[str], None]


class _Clock:
    """Seconds by step, told as they pass."""

    def __init__(self, say: Say) -> None:
        self.say, self.seconds = say, dict[str, float]()
        self._last = time.perf_counter()

    def step(self, name: str, text: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now
        self.say(text)


def run(experiment: Experiment, say: Say = lambda text: None, table: Table | None = None) -> Story:
    """Trains, judges, reports, registers and promotes every surrogate of the experiment; `say` is told each step in words.

    `table` replaces the experiment's data. Raises InputError for what the caller can mend, RegistryError for the model store.
    """
    clock = _Clock(say)
    makers = [check_settings(spec, experiment, say) for spec in experiment.surrogates]
    uri = experiment.tracking_uri or tracking.default_uri()
    tracking.connect(uri)
    clock.step("prepare", f"model store {uri}")
    table = table if table is not None else load_or_generate(experiment, say)
    clock.step("data", f"{len(table):,} rows of {table.source}, digest {table.digest}")
    parts = cut(table, experiment)
    clock.step("split", ", ".join(f"{name} {len(part):,}" for name, part in parts.named.items()))
    trained = []
    for spec, make in zip(experiment.surrogates, makers, strict=True):
        trained.append(train(spec, make, parts, experiment))
        clock.step(f"train {spec.register_as}", f"{spec.register_as}: {headline(trained[-1].test)}")
    report, pictures = write(experiment, table, parts, tuple(trained), dict(clock.seconds))
    clock.step("report", f"report {report}")
    run_id, versions = track_and_register(experiment, uri, parts, tuple(trained), report, pictures, clock.seconds)
    clock.step("register", ", ".join(f"{name} version {v}" for name, v in versions.items()))
    models = tuple(promote(one, versions[one.spec.register_as], uri, say) for one in trained)
    clock.step("promote", f"champions: {', '.join(m.name for m in models if m.champion) or 'none moved'}")
    return Story(experiment.name, models, report, uri, run_id, clock.seconds)


def check_settings(spec: SurrogateSpec, experiment: Experiment, say: Say) -> Callable[[], Any]:
    """A maker of the unfitted, conformal surrogate. Raises UnknownNameError for a setting its member does not have, InputError for one
    of the wrong type."""
    made, conformal = store.member(spec.member), store.member("conformal")
    ours = {"targets", "seed", "progress", "checkpoint"}
    known = {p.name: p.default for p in inspect.signature(made).parameters.values()}
    for name, value in spec.settings.items():
        if name not in known or name in ours:
            raise UnknownNameError(f"setting of {spec.member}", name, set(known) - ours, f"in surrogates: {spec.register_as}")
        kinds = (int, float) if isinstance(known[name], float) else (type(known[name]),)
        if known[name] is not None and known[name] is not inspect.Parameter.empty and (isinstance(value, bool) != isinstance(known[name], bool) or not isinstance(value, kinds)):
            raise InputError(f"surrogates: {spec.register_as}: settings.{name}: expected {kinds[-1].__name__} (such as {known[name]!r}), got {value!r}")

    def progress(epoch: int, epochs: int, loss: float) -> None:
        if epoch % max(epochs // 5, 1) == 0 or epoch == epochs:
            say(f"{spec.register_as}: epoch {epoch} of {epochs}, validation loss {loss:.4g}")

    offered: dict[str, Any] = {"targets": experiment.targets, "seed": experiment.seed, "progress": progress, "checkpoint": str(experiment.folder / "unfinished" / spec.register_as)}
    settings = {**spec.settings, **{name: value for name, value in offered.items() if name in known}}

    def make() -> Any:
        return conformal(made(**settings), level=experiment.level)

    make()  # what a member refuses is found now, not after the models before it have been trained
    return make


def load_or_generate(experiment: Experiment, say: Say) -> Table:
    """The labelled table the experiment names, generated first if it says so."""
    from ..datasets import generate as generator

    if experiment.data.generated is not None:
        return generator.read_generated(experiment.data.generated)
    assert experiment.data.generate is not None
    wish = experiment.data.generate
    wanted: dict[str, Any] = {"devices": wish.devices, "sampled": wish.sampled_devices, "families": wish.families, "per_workload": wish.per_workload}
    say(f"generating {wish.count:,} rows into {wish.out}")
    generator.generate(wish.out, count=wish.count, seed=experiment.seed, unrelated=experiment.hold_out_devices, workers=wish.workers, say=say,
                       progress=False,
                       **{name: value for name, value in wanted.items() if value is not None})
    return generator.read_generated(wish.out)


def cut(table: Table, experiment: Experiment) -> Parts:
    """Held-out devices aside, then the rest by workload. Raises UnknownNameError for a device the table does not have."""
    missing = [name for name in experiment.targets if name not in table.targets]
    if missing:
        raise UnknownNameError("target of this table", missing[0], table.targets, "in targets")
    unseen = None
    if experiment.hold_out_devices:
        there = set(table.slices["device"].astype(str)) if "device" in table.slices.columns else set()
        for key in experiment.hold_out_devices:
            if key not in there:
                raise UnknownNameError("device", key, there, "in hold_out_devices; a device can only be held out if the table has rows of it")
        table, unseen = hold_out(table, "device", experiment.hold_out_devices)
    return Parts(**split_by_group(table, experiment.split.fractions, experiment.seed), unseen=unseen)


def train(spec: SurrogateSpec, make: Callable[[], Any], parts: Parts, experiment: Experiment) -> Trained:
    """Fit, conformalise, judge, write the card, save the folder, and read it back."""
    from ..features import domain

    begin = time.perf_counter()
    surrogate = make().fit(parts.train, parts.valid)
    fitted = time.perf_counter()
    surrogate.conformalize(parts.calibrate)
    calibrated = time.perf_counter()
    known = witnessed(domain.describe(parts.train), parts.calibrate, surrogate.predict(parts.calibrate.questions))
    test = judge(surrogate, parts.test, known, experiment.level)
    unseen = judge(surrogate, parts.unseen, known, experiment.level, test) if parts.unseen is not None else None
    card = make_card(spec, surrogate, known, parts, test, unseen, experiment)
    folder = store.save(surrogate, card, experiment.folder / "models" / spec.register_as)
    check_saved(folder, test)
    done = time.perf_counter()
    return Trained(spec, surrogate, card, test, unseen, folder, {"fit": fitted - begin, "conformalize": calibrated - fitted, "judge": done - calibrated})


def judge(surrogate: Any, table: Table, known: Mapping[str, Any], level: float, reference: Judgement | None = None) -> Judgement:
    """A model's answers to `table` with their measures; an answer counts as wrong beyond the p90 error of `reference` (default: its own)."""
    prediction = guarded(known, table.questions, surrogate.predict(table.questions))
    frame = metrics.by_slice(table, prediction, level)
    limits = metrics.overall(reference.frame if reference else frame)
    verdicts = np.array([d.verdict for d in prediction.domain], dtype=object)
    guard = {name: metrics.guard_measures(verdicts, metrics.ape(table.targets[name], prediction.point[:, prediction.column(name)]),
                                          limits[name].get("p90_ape", math.nan)) for name in metrics.overall(frame)}
    return Judgement(table, prediction, frame, guard)


def make_card(spec: SurrogateSpec, surrogate: Any, known: Mapping[str, Any], parts: Parts, test: Judgement, unseen: Judgement | None,
              experiment: Experiment) -> ModelCard:
    """The model card: what it learned from, where it may be trusted, how good it was found to be."""
    found: dict[str, Any] = metrics.nested(test.frame)
    if unseen is not None:
        found |= {"unseen devices" if key == "all" else f"unseen {key}": value for key, value in metrics.nested(unseen.frame).items() if key == "all" or key.startswith("device=")}
    split = ", ".join(f"{name} {fraction:g}" for name, fraction in experiment.split.fractions.items()) + f" by workload, seed {experiment.seed}"
    split += f"; never trained on {', '.join(experiment.hold_out_devices)}" if experiment.hold_out_devices else ""
    simulator = parts.train.source.partition("simulated:")[2].split()
    return ModelCard(
        name=spec.register_as, version="", shape=surrogate.shape, targets=tuple(surrogate.targets), units={t: target_unit(t) for t in surrogate.targets},
        feature_version=FEATURE_VERSION, simulator_version=simulator[0] if simulator else "", data_source=parts.train.source, data_digest=parts.train.digest,
        data_rows=len(parts.train), split=split, level=experiment.level, domain=known, metrics=found, seed=experiment.seed,
        silicast_version=own_version(), code_revision=tracking.code_revision(),
        extra={"experiment": experiment.name, "member": spec.member, "test_digest": parts.test.digest})


def check_saved(folder: Path, test: Judgement) -> None:
    """Raises InputError when the saved folder does not answer as the model in memory did (the first test rows)."""
    some = np.arange(min(len(test.table), 64))
    again = store.load(folder)[0].predict(test.table.questions.take(some)).point
    if not np.allclose(again, test.prediction.point[some], rtol=1e-4, atol=0.0, equal_nan=True):
        raise InputError(f"{folder}: the saved model answers otherwise than the trained one; it was not registered. This is a defect of the surrogate's weights()")


def write(experiment: Experiment, table: Table, parts: Parts, trained: tuple[Trained, ...], seconds: Mapping[str, float]) -> tuple[Path, Path]:
    """The report, `metrics.csv` and the pictures; gives back (report, folder of pictures)."""
    from . import chapters

    return chapters.write_all(experiment, table, parts, trained, seconds)


def track_and_register(experiment: Experiment, uri: str, parts: Parts, trained: tuple[Trained, ...], report: Path, pictures: Path,
                       seconds: Mapping[str, float]) -> tuple[str, dict[str, str]]:
    """One MLflow run for the experiment and one within it per model, each with its registered version; (run id, name -> version)."""
    params = {"seed": experiment.seed, "level": experiment.level, "targets": ",".join(experiment.targets), "split": experiment.split.fractions,
              "hold_out_devices": ",".join(experiment.hold_out_devices), "surrogates": ",".join(s.register_as for s in experiment.surrogates)}
    tags = {"silicast_version": own_version(), "feature_version": FEATURE_VERSION}
    versions: dict[str, str] = {}
    with tracking.Run(experiment.name, experiment.experiment, uri, params, tags) as whole:
        for name, part in parts.named.items():
            whole.log_dataset(part, name)
        whole.log_artifacts(report, report.with_name("metrics.csv"), pictures)
        whole.log_metrics({f"seconds/{k}": v for k, v in seconds.items()})
        for one in trained:
            settings = {"member": one.spec.member, "seed": experiment.seed, "level": experiment.level, **one.spec.settings}
            with tracking.Run(one.spec.register_as, experiment.experiment, params=settings, tags=tags, parent=whole) as inner:
                inner.log_dataset(parts.train, "train")
                inner.log_dataset(parts.test, "test")
                inner.log_slices(one.test.frame, "test")
                if one.unseen is not None:
                    inner.log_slices(one.unseen.frame, "unseen")
                inner.log_metrics({f"seconds/{k}": v for k, v in one.seconds.items()})
                versions[one.spec.register_as] = registry.register(one.folder, one.spec.register_as, inner)
    return whole.run_id, versions


def promote(one: Trained, number: str, uri: str, say: Say) -> StoryModel:
    """Moves the champion if the gate lets it; a refusal is told and recorded, not an error."""
    name = one.spec.register_as
    try:
        moved, reasons = True, registry.promote(name, number, uri).reasons
    except registry.RefusedError as error:
        moved, reasons = False, error.reasons
    say(f"{name} version {number}: {'champion' if moved else 'not promoted'} ({'; '.join(reasons)})")
    return StoryModel(name, number, one.folder, metrics.overall(one.test.frame), metrics.overall(one.unseen.frame) if one.unseen else {}, moved, reasons)


def headline(judgement: Judgement) -> str:
    """The median error of each target, in words."""
    return ", ".join(f"{name} median APE {100 * of.get('median_ape', math.nan):.2g} %" for name, of in metrics.overall(judgement.frame).items())


def own_version() -> str:
    """The version of the installed silicast, "" when it is not installed."""
    try:
        return version("silicast")
    except PackageNotFoundError:
        return ""
