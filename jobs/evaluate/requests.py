"""What an evaluation is asked for, and the split and past cuts that a protocol makes of the files."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jobs.evaluate.file_columns import InputError, seconds_of
from jobs.evaluate.interactions_file import Table, read_table
from models.baselines import BASELINES, Bound, bounds
from models.interaction_matrix import DAY_SECONDS, IdMap, InteractionLog
from models.labelled_snapshot import LabelledSnapshot
from models.log_training import cuts_by_basket, cuts_by_chance, cuts_in_time
from models.protocols import Moment, Split, given_split, global_time, last_basket, moment_text
from models.recipe import Recipe, recipe

Protocol = Literal["global-time", "last-basket", "given-split"]
Catalog = dict[str, NDArray[Any]]
"""Columns of an item file; empty without one."""
PROTOCOLS: tuple[Protocol, ...] = ("global-time", "last-basket", "given-split")


@dataclass(frozen=True)
class Request:
    """What is to be evaluated, and how.

    Attributes:
        interactions: the log, for `global-time` and `last-basket`.
        train, test: the published files, for `given-split`.
        cut: seconds; None is one window before the end of the log.
        min_item_users: users that an item must have before the cut (`global-time`).
        min_baskets, min_item_purchases: `last-basket`: what users and items must have before their last basket.
        moment: `last-basket`: lists are made at the `previous` basket, or at the `next` one.
        columns: own names of the columns user, item, time, weight, basket.
        recipe: settings to train with, for example those that `sluice tune` found; None is the built-in `profile`.
        release: `current` or the id of a release: its published lists stand for ours; empty: ours are trained here.
    """

    protocol: Protocol
    interactions: Path | None = None
    train: Path | None = None
    test: Path | None = None
    cut: float | None = None
    window_days: float = 28.0
    ks: tuple[int, ...] = (10, 20)
    min_item_users: int = 10
    min_baskets: int = 3
    min_item_purchases: int = 5
    moment: Moment = "previous"
    catalog: Path | None = None
    profile: str = "fast"
    recipe: Recipe | None = None
    columns: dict[str, str] = field(default_factory=dict)
    release: str = ""
    threads: int = 2

    def chosen_recipe(self) -> Recipe:
        """The recipe that was named, or that of the profile; raises ModelError when there is no such profile."""
        return recipe(self.profile) if self.recipe is None else self.recipe

    def check(self) -> None:
        """Raise InputError unless the options go together."""
        if self.protocol not in PROTOCOLS:
            raise InputError(f"--protocol: expected one of {', '.join(PROTOCOLS)}, got {self.protocol!r}: choose one")
        if not self.ks or min(self.ks) < 1:
            raise InputError(f"--k: expected numbers from 1, got {list(self.ks)}: for example --k 10 --k 20")
        if not 0 < self.window_days < math.inf:
            raise InputError(f"--window-days: expected more than 0, got {self.window_days:g}: for example 28")
        if self.cut is not None and not math.isfinite(self.cut):
            raise InputError(f"--cut: expected a moment, got {self.cut}: for example 2017-11-27T05:00:00Z")
        if min(self.min_baskets, self.min_item_purchases, self.min_item_users) < 1:
            raise InputError("--min-…: expected numbers from 1, got less: for example --min-baskets 3")
        if self.protocol == "given-split" and (self.train is None or self.test is None):
            raise InputError("given-split: expected --train and --test, got only one or none: name both files")
        if self.protocol != "given-split" and (self.train is not None or self.test is not None):
            raise InputError(
                f"{self.protocol}: expected --interactions alone, got --train or --test: a published split is "
                "measured by --protocol given-split"
            )
        if self.protocol != "given-split" and self.interactions is None:
            raise InputError(f"{self.protocol}: expected --interactions FILE, got none: name the Parquet or CSV file")


@dataclass(frozen=True)
class Prepared:
    """A split, and how to come by the labelled cuts that a ranker may be trained on."""

    split: Split
    cuts: Callable[[Recipe], list[LabelledSnapshot]]
    min_item_users: int
    facts: dict[str, Any]
    notes: list[str]


def prepare(request: Request, catalog: Catalog) -> Prepared:
    """The split of a request's protocol.

    Raises:
        InputError, ModelError, InteractionError: naming what cannot be used.
    """
    if request.protocol == "given-split":
        return _given(request, catalog)
    assert request.interactions is not None
    table = read_table(request.interactions, request.columns, needs_basket=request.protocol == "last-basket")
    _check_users(table)
    log = table.log()
    facts: dict[str, Any] = {"rows": len(log), "users": len(log.user_map), "items": len(log.item_map)}
    if request.protocol == "last-basket":
        limits = {"min_baskets": request.min_baskets, "min_item_purchases": request.min_item_purchases}
        split = last_basket(log, **limits, moment=request.moment).in_usual_weights()

        def by_basket(made: Recipe) -> list[LabelledSnapshot]:
            return cuts_by_basket(
                split.known, count=made.training_baskets, moment=request.moment, catalog=catalog, recipe=made
            )

        notes = table.notes + _without_baskets(request.interactions, table, log)
        return Prepared(split, by_basket, 1, {**facts, **limits, "moment": request.moment}, notes)
    cut = _cut(request, log)
    split = global_time(log, cut=cut, window_days=request.window_days, min_item_users=request.min_item_users)
    split = split.in_usual_weights()

    def in_time(made: Recipe) -> list[LabelledSnapshot]:
        return cuts_in_time(
            split.past, cut, window_days=request.window_days, count=made.training_cuts,
            min_item_users=request.min_item_users, catalog=catalog, recipe=made,
        )  # fmt: skip

    facts |= {"cut": cut, "window_days": request.window_days, "min_item_users": request.min_item_users}
    return Prepared(split, in_time, request.min_item_users, facts, table.notes)


def _without_baskets(file: Path, table: Table, log: InteractionLog) -> list[str]:
    """What a basket was taken to be where no column tells."""
    if table.baskets is not None:
        return []
    baskets = len(np.unique(log.baskets))
    told = f"{file.name} has no basket column: rows of one user at one time are a basket"
    if baskets == len(log):
        told += ", and no two rows are: every row is a basket of its own, and its one item is to be found"
    else:
        told += f", {baskets:,} of {len(log):,} rows"
    return [f"{told}; name it with --basket if there is one"]


def _cut(request: Request, log: InteractionLog) -> float:
    """The asked cut, or one window before the end of the log."""
    if request.cut is not None:
        return float(seconds_of(np.array([request.cut]))[0])
    first, last = float(log.times.min()), float(log.times.max())
    days = (last - first) / DAY_SECONDS
    if last == first:
        raise InputError(
            "time: expected rows at different moments, got one moment for all of them: nothing lies before a cut; "
            "bring the real times, or a published split (--protocol given-split)"
        )
    if days <= request.window_days:
        raise InputError(
            f"--window-days: expected a window shorter than the log, got {request.window_days:g} days of a log of "
            f"{days:.3g}: name a smaller one (times may be in another unit: days or years are taken for seconds)"
        )
    end = np.floor(last) + 1.0  # windows leave their end out, and the last row is to be in
    cut = float(end - request.window_days * DAY_SECONDS)
    quiet = (cut - float(log.times[log.times < cut].max())) / DAY_SECONDS
    if quiet > max(request.window_days, days / 2):
        raise InputError(
            f"time: expected events before the last {request.window_days:g} days, got none in {quiet:.0f} days: "
            f"name --cut, or drop the rows at {moment_text(last)} if that time is wrong"
        )
    return cut


def _given(request: Request, catalog: Catalog) -> Prepared:
    assert request.train is not None
    assert request.test is not None
    train = read_table(request.train, request.columns, needs_time=False)
    test = read_table(request.test, request.columns, needs_time=False)
    _check_users(train)
    both = train.joined(test)
    log = both.log()
    # `log` sorts its rows, so the two parts are found again by building each on the shared maps.
    parts = [_on_maps(one, both) for one in (train, test)]
    split = given_split(*parts).in_usual_weights()
    if split.truth.nnz and not known_items(split)[split.truth.indices].any():
        trained, tested = (f"{len(set(one.items)):,} (such as {str(min(one.items))!r})" for one in (train, test))
        raise InputError(
            f"there is nothing to find: of the items of --test, {tested}, none is among those of --train, {trained}: "
            "the two files must name items alike"
        )
    span = float(parts[1].times.max() - parts[1].times.min())
    later = parts[1].times.min() > parts[0].times.max() and span > 0
    timed = len(np.unique(parts[0].times)) > 1
    # Where a row is all that a user did with an item (plays in a year), held-out rows teach that nothing repeats.
    by_chance = train.baskets is not None or len(np.unique(parts[0].weights)) == 1
    notes = list(both.notes)
    if not timed and by_chance:
        notes.append("train has no order: the ranker learnt from parts of it that were held out by chance")

    def cuts(made: Recipe) -> list[LabelledSnapshot]:
        if not timed:
            if not by_chance:
                return []
            return cuts_by_chance(split.known, count=made.training_cuts, seed=made.seed, catalog=catalog, recipe=made)
        if later:  # a split in time: train on windows as long as the test
            end, days = float(parts[1].times.min()), max(span / DAY_SECONDS, 1.0)
            return cuts_in_time(
                split.past,
                end,
                window_days=days,
                count=made.training_cuts,
                min_item_users=1,
                catalog=catalog,
                recipe=made,
            )
        return cuts_by_basket(split.known, count=made.training_baskets, catalog=catalog, recipe=made)

    facts = {"rows": len(log), "users": len(log.user_map), "items": len(log.item_map), "test_rows": len(test)}
    return Prepared(split, cuts, 1, facts, notes)


def _on_maps(table: Table, both: Table) -> InteractionLog:
    """The log of one table with users and items numbered as in both."""
    log = table.log()
    users, items = IdMap(both.users), IdMap(both.items)
    return replace(
        log,
        user_map=users,
        item_map=items,
        users=users.positions(log.user_map.ids)[log.users],
        items=items.positions(log.item_map.ids)[log.items],
    )


def _check_users(table: Table) -> None:
    users = np.unique(table.users)
    if len(users) < 2:
        raise InputError(
            f"user: expected at least 2 users, got 1 ({str(users[0])!r} alone): lists are learnt from others, too; "
            "bring more users"
        )


def learnt_from(split: Split, made: Recipe, ours: Sequence[str]) -> dict[str, Bound]:
    """Models that learnt from a sample of the users, by name: baselines (`bounds`), and ours where users are many."""
    users = len(np.unique(split.past.users))
    sampled = dict.fromkeys(ours, Bound(made.reference_users, users)) if users > made.reference_users else {}
    return sampled | bounds(split)


def known_items(split: Split) -> NDArray[np.bool_]:
    """Items of which something is known, as a mask by item position: no list can hold another."""
    known: NDArray[np.bool_] = np.bincount(split.known.items, minlength=len(split.known.item_map)) > 0
    return known


def data_notes(split: Split, request: Request, catalog: Catalog, bounded: Mapping[str, Bound]) -> list[str]:
    """What a reader of the figures must know about this data.

    Args:
        bounded: of `learnt_from`.
    """
    found = []
    wanting = np.diff(split.truth.indptr) > 0
    cold = int((wanting & split.strangers()).sum())
    if cold:
        found.append(f"{cold} users with truth have no history: every model made here gives them the popular list")
    known = known_items(split)
    unreachable = int((~known[split.truth.indices]).sum())
    if unreachable:
        found.append(f"{unreachable} of {split.truth.nnz} true pairs are of items that nothing is known of: all missed")
    large: Sequence[int] = [k for k in sorted(request.ks) if k > int(known.sum())]
    if large:
        found.append(f"k = {large} is more than the {int(known.sum())} items of the catalogue: lists end early")
    for name, bound in bounded.items():
        does = "looked for neighbours among" if name in BASELINES else "learnt factors, neighbours and ranking from"
        found.append(
            f"{name} {does} {bound.reference_users:,} of {bound.users:,} users, a keyed sample: it might do better "
            "with all of them"
        )
    if "category" in catalog:
        described = set(catalog["item_id"][[one is not None for one in catalog["category"]]].tolist())
        without = sum(item not in described for item in split.known.item_map.ids.tolist())
        if without:
            found.append(f"{without} items have no category: each is a group of its own")
    return found
