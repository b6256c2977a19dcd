"""Which surrogate learns a table: by the shape of its questions and its rows. Which is best is silicast's business, not the user's.

A plain table, and one of networks, is learned by a blend; a large table of operators by an ensemble of trees and, where torch is installed and there are rows enough, networks; a
small one by trees alone. What an ensemble makes of machines and sizes never seen is rehearsed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..datasets.table import Table
from ..features import corners, own_sizes, word_pairs
from ..surrogates import size_rehearsal, store, word_rehearsal

Say = Callable[[str], None]
#: fewer training rows than this and networks are left out. At 2,100 rows of open tables they still help: GEMM sites 10.3 to 7.8 %, power of GEMM 13.6 to 8.6 % (median)
LEAST_ROWS_FOR_NETWORK = 1500
#: more rows than this and operators are learned without a Gaussian process. With 600 it is better alone than all trees together (GEMM sites, two seeds: 11.3 for 13.9 %), with 1,500 by a little (9.7 for
#: 10.5), with 2,100, where networks stand beside it, no more
MOST_ROWS_FOR_PROCESS = LEAST_ROWS_FOR_NETWORK


def best_trees(targets: Sequence[str], seed: int) -> Any:
    """The unfitted trees for a large table."""
    return store.member("boosted")(targets=targets, seed=seed, trees=1000)


def best_surrogate(targets: Sequence[str], train: Table, seed: int, say: Say, networks: bool = True) -> Any:
    """The unfitted surrogate for a table: trees, and a network beside them where it can help and is wanted."""
    if train.questions.shape == "features":
        return store.member("blended")(targets=targets, seed=seed)

    def progress(epoch: int, epochs: int, loss: float) -> None:
        if epoch % max(epochs // 5, 1) == 0 or epoch == epochs:
            say(f"network: epoch {epoch} of {epochs}, loss {loss:.4g}")

    helpful = networks_help(len(train))
    if networks and not helpful and len(train) >= LEAST_ROWS_FOR_NETWORK:
        say("torch is not installed: trees alone (pip install 'silicast[gnn]' adds the network, which is more accurate on large tables)")
    near, networks = networks, networks and helpful
    if train.questions.shape == "op":
        return store.member("ensemble")(op_members(targets, seed, len(train), networks=networks, near=near, smooth=smooth_helps(len(train)), progress=progress))
    boosted = best_trees(targets, seed)
    return store.member("ensemble")([boosted, store.member("neural")(targets=targets, seed=seed, progress=progress)]) if networks else boosted


def networks_help(rows: int) -> bool:
    """Whether networks stand beside the trees of a table of so many rows: torch is installed, and there are enough."""
    return rows >= LEAST_ROWS_FOR_NETWORK and importlib.util.find_spec("torch") is not None


def smooth_helps(rows: int) -> bool:
    """Whether a Gaussian process stands beside the trees of a table of so many operators."""
    return rows <= MOST_ROWS_FOR_PROCESS


def op_members(targets: Sequence[str], seed: int, rows: int = 0, small: bool = False, taught: bool = False, networks: bool = True, near: bool = True,
               smooth: bool = False, progress: Callable[[int, int, float], None] | None = None) -> list[Any]:
    """The unfitted members for an op table of `rows`: trees and a network that see everything, the trees what was read nearby too (`near`: the model then holds the table's
    readings), trees that see sizes and figures alone, and ones that see what is the same on
    machines and at sizes never measured, from where each machine settles, the network as achieved fractions of ceilings; where each machine settles alone;
    and trees that know the roofline and no simulator; where the rows are few enough (`smooth`) a Gaussian process. `small`: copies that rehearse; `taught`: their networks are wider and are shown four times the rows, where what they are worth beside the trees is chosen by them
    (after 50,000 rows shown they were 8.6 % off where the whole network is 5.2, and the trees took most of the share: generation attention, head shapes held out, 5.5 for 4.9 %)."""
    boosted, neural = store.member("boosted"), store.member("neural")
    trees: dict[str, Any] = {"targets": targets, "seed": seed, "bins": 63, "column_share": 0.4, "min_leaf": 5, "full_tails": True}
    grown = (120, 120, 31) if small else (400, 300, int(np.clip(rows // 250, 63, 127 if near else 255)))
    copies: dict[str, Any] = {"samples": 200_000, "hidden": 96, "blocks": 2, "batch": 256} if taught else {"samples": 50_000, "hidden": 64, "blocks": 2, "batch": 128}
    nets: list[dict[str, Any]] = [copies] * 2 if small else [
        {"samples": 1_800_000, "hidden": 192, "progress": progress}, {"samples": 600_000, "hidden": 128, "blocks": 2, "batch": 512}]
    members = [boosted(**trees, trees=grown[0], leaves=grown[2], columns="near" if near else "all"), boosted(**trees, trees=grown[1], leaves=min(grown[2], 63), columns="plain"),
               boosted(**trees, trees=grown[1], leaves=min(grown[2], 63), columns="kin"), store.member("anchored")(targets=targets, seed=seed),
               boosted(targets=targets, seed=seed, trees=120 if small else 300, rate=0.1, leaves=31, min_leaf=20, column_share=1.0, columns="roofline")]
    if networks:
        members += [neural(targets=targets, seed=seed, full_tails=True, **nets[0]), neural(targets=targets, seed=seed, columns="kin", head="ceilings", **nets[1])]
    return [*members, store.member("smooth_ops")(targets=targets, seed=seed)] if smooth else members


def small_trees(targets: Sequence[str], train: Table, seed: int) -> Any:
    """Trees for a table cut into folds: as many are grown as there are folds, so each is modest, and there are no rows to stop early by."""
    small = len(train) < 2000
    return store.member("boosted")(targets=targets, seed=seed, trees=300 if small else 600, leaves=15 if small else 63, full_tails=True,
                                  threads=1 if small else 0)


def small_members(targets: Sequence[str], train: Table, seed: int) -> list[Any]:
    """The unfitted members for a table of few operators: trees, and a Gaussian process, which a few dozen rows teach more (random, few and own sizes of 15 tables nobody here had tried, by hand)."""
    return [small_trees(targets, train, seed), store.member("smooth_ops")(targets=targets, seed=seed)]


def quick_trees(targets: Sequence[str], seed: int) -> Any:
    """Trees for rehearsals of which there are many: how far off the others are about what is held out hardly depends on how long they learn."""
    return store.member("boosted")(targets=targets, seed=seed, trees=60, rate=0.15, leaves=31, min_leaf=5, full_tails=True, threads=1)


def expect_words(surrogate: Any, train: Table, wanted: Sequence[str], seed: int) -> None:
    """Widths about words never seen, for a calibrated conformal model of an op table: from rehearsals with words held out."""
    learned = word_rehearsal.known(train.questions, train.groups)
    tried = word_rehearsal.tried(train, lambda: [quick_trees(wanted, seed)], wanted, seed)
    surrogate.expect_words(learned, tried, word_rehearsal.pairs(train.questions, learned), word_pairs.known(train.questions, train.groups))


def rehearse(surrogate: Any, train: Table, wanted: Sequence[str], seed: int, say: Say, networks: bool = True) -> None:
    """Widths about machines and sizes never seen, for a conformal ensemble of op members fitted to `train` and calibrated: from rehearsals with them held out."""
    rehearsed = surrogate.inner.rehearse(train, lambda: op_members(wanted, seed, small=True, networks=networks and networks_help(len(train)), near=networks, smooth=smooth_helps(len(train))), seed)
    if rehearsed.machines:
        say("rehearsed on machines held out: intervals for machines never seen are as wide as the errors about the worst of them")
    surrogate.expect_strangers(sorted(set(train.questions.strata.astype(str))), rehearsed.machines, rehearsed.machine, rehearsed.kind)
    if rehearsed.sizes:
        say("rehearsed on the largest sizes held out: intervals beyond the table's sizes are as wide as the errors there")
        surrogate.expect_far(rehearsed.sizes, rehearsed.size_kind)
    corner = bool(rehearsed.sizes)  # beyond each size that was the rehearsal
    tried = size_rehearsal.tried(train, lambda: op_members(wanted, seed, small=True, networks=False, near=networks, smooth=smooth_helps(len(train)))[:2 if corner else None], wanted, seed, corner)
    surrogate.expect_sizes(corners.known(train.questions.ops, train.groups), tried, corner, own_sizes.known(train.questions.ops, own_sizes.labels(train.questions)))
    expect_words(surrogate, train, wanted, seed)
