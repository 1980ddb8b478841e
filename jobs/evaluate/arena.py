"""What models are compared on: users, items, the truth of each view, and everybody's lists. Kept as npz.

Baselines depend on the data alone, so they are measured once per cut and kept; the report adds our lists to them.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.domains.spec import DISCOVER, HOME
from models.base import PAD
from models.baselines import BASELINES, Bound, baseline_lists, bounds
from models.evaluation import Measured, ModelLists, measure_truths, with_popular
from models.labelled_snapshot import LabelledSnapshot, truth_matrix
from models.protocols import VIEWS, Split, View
from models.validation import judge_baselines, truths

K = 20


@dataclass(frozen=True)
class Arena:
    """Models beside each other on one truth.

    Attributes:
        truths: CSR (users, items) by view.
        lists: by model, in positions of `user_ids` and `item_ids`.
        bounded: baselines that did not see everybody.
    """

    user_ids: NDArray[np.str_]
    item_ids: NDArray[np.str_]
    truths: dict[View, sp.csr_matrix]
    lists: dict[str, ModelLists]
    bounded: dict[str, Bound] = field(default_factory=dict)

    def measured(self, name: str, ks: Sequence[int] = (10, K)) -> Measured:
        """Metrics of one model."""
        return measure_truths(self.lists[name], self.truths, ks)

    def placed(
        self, user_ids: NDArray[np.str_], items: dict[str, NDArray[np.int64]], item_ids: NDArray[np.str_]
    ) -> ModelLists:
        """Lists of a model that numbers users and items in its own way; users it has no list for have the popular one.

        As the API answers them, and as every baseline does (`with_popular`); without the popular list, an empty one.
        """
        from models.interaction_matrix import IdMap

        rows = IdMap(self.user_ids).positions(user_ids)
        columns = IdMap(self.item_ids).positions(item_ids)
        found = {}
        for surface, lists in items.items():
            placed = np.full((len(self.user_ids), lists.shape[1]), -1, dtype=np.int64)
            known = rows >= 0
            placed[rows[known]] = np.where(lists[known] < 0, -1, columns[lists[known]])
            found[surface] = placed
        whole = ModelLists(found[HOME], found[DISCOVER])
        if "popularity" not in self.lists:
            return whole
        return with_popular(whole, self.lists["popularity"], (whole.home == PAD).all(axis=1))

    def save(self, file: Path) -> None:
        """Write as npz without pickle, whole or not at all."""
        arrays: dict[str, NDArray[np.generic]] = {"users": self.user_ids, "items": self.item_ids}
        for view, truth in self.truths.items():
            arrays |= {f"truth.{view}.indptr": truth.indptr, f"truth.{view}.indices": truth.indices}
        for name, bound in self.bounded.items():
            arrays[f"bounded.{name}"] = np.array([bound.reference_users, bound.users])
        for name, lists in self.lists.items():
            arrays |= {f"lists.{name}.home": lists.home, f"lists.{name}.discover": lists.discover}
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{os.getpid()}.{file.name}")
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
        temporary.replace(file)

    @classmethod
    def load(cls, file: Path) -> "Arena":
        """Read what `save` wrote."""
        with np.load(file, allow_pickle=False) as stored:
            shape = (len(stored["users"]), len(stored["items"]))
            found: dict[View, sp.csr_matrix] = {}
            for view in VIEWS:
                indices = stored[f"truth.{view}.indices"]
                parts = (np.ones(len(indices), np.float32), indices, stored[f"truth.{view}.indptr"])
                found[view] = sp.csr_matrix(parts, shape=shape)
            names = sorted({key.split(".")[1] for key in stored.files if key.startswith("lists.")})
            lists = {name: ModelLists(stored[f"lists.{name}.home"], stored[f"lists.{name}.discover"]) for name in names}
            cut = {key.split(".")[1]: stored[key].tolist() for key in stored.files if key.startswith("bounded.")}
            bounded = {name: Bound(*values) for name, values in cut.items()}
            return cls(stored["users"], stored["items"], found, lists, bounded)

    @classmethod
    def of_split(cls, split: Split, names: Sequence[str] = tuple(BASELINES)) -> "Arena":
        """Every baseline on a split: a minute or two on the real data."""
        lists = {name: baseline_lists(name, split, k=K) for name in names}
        return cls(split.known.user_map.ids, split.known.item_map.ids, split.views(), lists, bounds(split))

    @classmethod
    def of_snapshot(cls, snapshot: LabelledSnapshot, bought: Mapping[str, NDArray[Any]] | None = None) -> "Arena":
        """The four baselines that a snapshot of gold is enough for, in seconds.

        Args:
            bought: all of the window, columns `user_id` and `item_id`: users without a history count as on a split,
                and get the popular list from every model as there. Without it only users with a history do.
        """
        wanted = truths(snapshot)
        repeat = sp.csr_matrix(snapshot.truth - wanted[DISCOVER])
        repeat.eliminate_zeros()
        of_views: dict[View, sp.csr_matrix] = {"all": snapshot.truth, "repeat": repeat, "new": wanted[DISCOVER]}
        judged = judge_baselines(snapshot)
        known, items = snapshot.histories.user_ids, snapshot.items
        lists = {name: ModelLists(one.lists[HOME], one.lists[DISCOVER]) for name, one in judged.items()}
        if bought is None:
            return cls(known, items.ids.ids, of_views, lists)
        users = np.union1d(known, np.asarray(bought["user_id"], dtype=np.str_))
        strange = np.flatnonzero(~np.isin(users, known))
        theirs = truth_matrix(bought, users[strange], items)
        none = sp.csr_matrix(theirs.shape, dtype=np.float32)
        order = np.argsort(np.concatenate([np.flatnonzero(np.isin(users, known)), strange]))
        for view, truth in of_views.items():
            of_views[view] = sp.csr_matrix(sp.vstack([truth, none if view == "repeat" else theirs]).tocsr()[order])
        whole = cls(users, items.ids.ids, of_views, {})
        placed = {
            name: whole.placed(known, {HOME: one.home, DISCOVER: one.discover}, items.ids.ids)
            for name, one in lists.items()
        }
        popular = placed["popularity"]
        popular.home[strange] = popular.discover[strange] = lists["popularity"].home[0]  # the same list for everybody
        strangers = np.isin(np.arange(len(users)), strange)
        return replace(whole, lists={name: with_popular(one, popular, strangers) for name, one in placed.items()})
