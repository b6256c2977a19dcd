"""What the report of an experiment tells, and in which order: headline, comparison, each model, unseen devices, data, how it was made."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ..datasets.table import Table
from ..features import FEATURE_VERSION
from . import metrics, pictures, tracking
from .config import Experiment
from .pictures import percent
from .report import Facts, Gallery, Heading, Listing, MetricTable, Picture, Section, Text, Tiles, write_report
from .story import Judgement, Parts, Trained

#: the measures shown for every slice; all of them are in metrics.csv
SHOWN = ("rows", "median_ape", "mape", "p90_ape", "within_5", "within_10", "coverage", "log_width")
VERSIONS = ("silicast", "numpy", "pandas", "lightgbm", "torch", "mlflow")


def write_all(experiment: Experiment, table: Table, parts: Parts, trained: tuple[Trained, ...], seconds: Mapping[str, float]) -> tuple[Path, Path]:
    """Writes report.html, metrics.csv and pictures/ into the experiment's folder; gives back (report, folder of pictures)."""
    drawn: dict[str, bytes] = {}
    sections: list[Section] = [_headline(trained), *_comparison(trained, drawn)]
    for one in trained:
        sections += _model(one, experiment.level, drawn)
    if parts.unseen is not None:
        sections += _unseen(trained, experiment, drawn)
    sections += _making(experiment, table, parts, trained, seconds)
    folder = experiment.folder / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, png in drawn.items():
        (folder / f"{name}.png").write_bytes(png)
    all_metrics(trained).to_csv(experiment.folder / "metrics.csv", index=False)
    subtitle = f"{len(table):,} labelled rows; judged on {len(parts.test):,} rows of workloads that no model has seen" + (
        f", and on {len(parts.unseen):,} rows of devices that none has seen" if parts.unseen is not None else "")
    return write_report(experiment.folder / "report.html", sections, f"silicast: {experiment.name}", subtitle), folder


def all_metrics(trained: tuple[Trained, ...]) -> pd.DataFrame:
    """Every measure of every slice: columns model, rows_of (test or unseen devices), then those of `metrics.by_slice`."""
    frames = []
    for one in trained:
        for rows_of, judged in (("test", one.test), ("unseen devices", one.unseen)):
            if judged is not None:
                frames.append(pd.concat([pd.DataFrame({"model": one.spec.register_as, "rows_of": rows_of}, index=judged.frame.index), judged.frame], axis=1))
    return pd.concat(frames, ignore_index=True)


def _headline(trained: tuple[Trained, ...]) -> Section:
    tiles = []
    for name in trained[0].card.targets:
        errors = {one.spec.register_as: metrics.overall(one.test.frame).get(name, {}) for one in trained}
        best = min(errors, key=lambda k: errors[k].get("median_ape", math.inf))
        of = errors[best]
        tiles.append((f"{name}: best median error", percent(of.get("median_ape", math.nan)),
                      f"{best}; {percent(of.get('within_10', math.nan))} of rows within 10 %; intervals hold {percent(of.get('coverage', math.nan))}"))
    return Tiles(tuple(tiles))


def _comparison(trained: tuple[Trained, ...], drawn: dict[str, bytes]) -> list[Section]:
    frame = pd.concat([_plain(one.test.frame, "all").assign(model=one.spec.register_as) for one in trained], ignore_index=True)
    measures = ["rows", "median_ape", "mape", "p90_ape", "within_5", "within_10", "rmspe", "r2_log", "spearman", "kendall", "top1_regret", "coverage", "log_width"]
    drawn["errors"] = pictures.error_distribution(_errors({one.spec.register_as: one.test for one in trained}))
    return [Heading("The models side by side"),
            MetricTable("Unseen workloads", frame[["target", "model", *measures]].sort_values("target", kind="stable"),
                        "APE: absolute percentage error |forecast - truth| / truth. Coverage: share of truths inside their interval. "
                        "Interval width: mean of log(high / low). Top-1 regret: how much worse the device that looks best for a workload is than the truly best."),
            Gallery("How often is the error how large?", (Picture(drawn["errors"], "Further left is better. Dashed: 5 % and 10 %."),))]


def _model(one: Trained, level: float, drawn: dict[str, bytes]) -> list[Section]:
    name, test = one.spec.register_as, one.test
    whole = metrics.overall(test.frame)
    answers = {t: {"point": test.prediction.point[:, test.prediction.column(t)], "median_ape": whole[t].get("median_ape", math.nan)} for t in whole}
    kinds = test.table.slices["kind"].to_numpy(dtype=object) if "kind" in test.table.slices.columns else None
    drawn[f"{name}-parity"] = pictures.parity(test.table.targets, answers, kinds)
    gallery = [Picture(drawn[f"{name}-parity"], "Forecast against truth; the band is +-10 %. Colours: kind of device.")]
    for column in ("family", "device"):
        if _has(test, column):
            drawn[f"{name}-{column}"] = pictures.error_by_slice(test.frame, column)
            gallery.append(Picture(drawn[f"{name}-{column}"], f"By {column}, worst on top (rows in brackets): the dot is the median error, the bar ends at the 90th "
                                   f"percentile, the dashed line is the median over all rows.{_left_out(test, column)}"))
    if test.frame["coverage"].notna().any():
        drawn[f"{name}-coverage"] = pictures.coverage_by_slice(test.frame, level)
        gallery.append(Picture(drawn[f"{name}-coverage"], f"Do the {level:.0%} intervals hold? Whiskers: sampling error (95 %). Orange: misses the band for sure."))
    rows = pd.concat([_plain(test.frame, c) for c in ("kind", "family") if _has(test, c)] or [_plain(test.frame, "all")], ignore_index=True)
    sections: list[Section] = [Heading(name, f"{one.spec.member}; settings: {', '.join(f'{k} {v}' for k, v in one.spec.settings.items()) or 'defaults'}. "
                                       f"Fitted in {one.seconds['fit']:.1f} s on {one.card.data_rows:,} rows."),
                               Gallery("Where is it right?", tuple(gallery)),
                               MetricTable("Errors by slice", rows[["slice", "value", "target", *SHOWN]], most=150, folded=True)]
    left = {t: {c: int(whole[t][c]) for c in ("no_truth", "no_answer", "zero_truth") if whole[t].get(c)} for t in whole}
    if any(left.values()):
        words = {"no_truth": "no true answer (does not fit the machine, or was not measured)", "no_answer": "no answer from the model",
                 "zero_truth": "a true answer of zero, so no percentage error"}
        sections.append(Text("Rows left out", tuple(f"{t}: " + "; ".join(f"{n:,} of {len(test.table):,}: {words[c]}" for c, n in of.items()) for t, of in left.items() if of)))
    return sections


def _unseen(trained: tuple[Trained, ...], experiment: Experiment, drawn: dict[str, bytes]) -> list[Section]:
    rows, guards = [], []
    for one in trained:
        if one.unseen is None:
            continue
        columns = ("all", "device") if len(experiment.hold_out_devices) > 1 else ("all",)
        rows.append(pd.concat([_plain(one.unseen.frame, c) for c in columns]).assign(model=one.spec.register_as))
        for where, judged in (("unseen workloads", one.test), ("unseen devices", one.unseen)):
            guards += [{"model": one.spec.register_as, "rows of": where, "target": t, **g} for t, g in judged.guard.items()]
    frame = pd.concat(rows, ignore_index=True)
    drawn["errors-unseen-devices"] = pictures.error_distribution(_errors({one.spec.register_as: one.unseen for one in trained if one.unseen is not None}))
    return [Heading("Devices that no model has seen", f"Held out of training, calibration and early stopping: {', '.join(experiment.hold_out_devices)}. "
                    "Their relatives (the same chip on another board, machines sampled around it) may be in the training data."),
            MetricTable("Errors on unseen devices", frame[["model", "slice", "value", "target", *SHOWN]]),
            Gallery("How often is the error how large there?", (Picture(drawn["errors-unseen-devices"], "Further left is better. Dashed: 5 % and 10 %."),)),
            MetricTable("Does the domain guard warn?", pd.DataFrame(guards),
                        "Flagged: share of rows the guard calls outside what the model has learned from. Wrong: share with an error above the model's 90th "
                        "percentile on unseen workloads. Hit rate: share of the wrong ones that were flagged. Flags on unseen workloads are mostly false alarms.")]


def _making(experiment: Experiment, table: Table, parts: Parts, trained: tuple[Trained, ...], seconds: Mapping[str, float]) -> list[Section]:
    data = pd.DataFrame([{"part": name, "rows": len(part), "workloads": f"{len(set(map(str, part.groups))):,}", "digest": part.digest} for name, part in parts.named.items()])
    times: dict[str, Any] = {k: f"{v:.1f} s" for k, v in seconds.items()}
    for one in trained:
        times |= {f"{one.spec.register_as}: {k}": f"{v:.1f} s" for k, v in one.seconds.items()}
    return [Heading("How it was made"),
            MetricTable("Data", data, f"Source: {table.source}. Whole table: {len(table):,} rows, digest {table.digest}." + "".join(f" {n}" for n in table.notes)),
            Facts("Versions", {**{name: _version(name) for name in VERSIONS}, "Python": platform.python_version(), "features": FEATURE_VERSION,
                               "code revision": tracking.code_revision() or "not in git", "seed": experiment.seed}),
            Facts("Time", times),
            Listing("The experiment file", yaml.safe_dump(experiment.to_json(), sort_keys=False, allow_unicode=True))]


def _errors(judged: Mapping[str, Judgement]) -> dict[str, dict[str, np.ndarray]]:
    """target -> model -> (n,) APE."""
    out: dict[str, dict[str, np.ndarray]] = {}
    for model, of in judged.items():
        for name in metrics.overall(of.frame):
            out.setdefault(name, {})[model] = metrics.ape(of.table.targets[name], of.prediction.point[:, of.prediction.column(name)])
    return out


def _plain(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame[frame["slice"] == column]


def _has(judged: Judgement, column: str) -> bool:
    part = _plain(judged.frame, column)
    return bool(len(part) and part["median_ape"].notna().any())


def _left_out(judged: Judgement, column: str) -> str:
    count = _plain(judged.frame, column)["value"].nunique()
    return f" The {pictures.MOST_SLICES} worst of {count}." if count > pictures.MOST_SLICES else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
