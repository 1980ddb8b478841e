"""The lists that a release published in Redis, in the positions of an evaluation: what users are really given.

Business rules are in these lists. An item that the evaluation does not know keeps its place and finds nothing.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.domains.spec import DISCOVER, HOME
from jobs.evaluate.file_columns import InputError
from models.base import PAD, IntArray
from models.evaluation import ModelLists
from models.interaction_matrix import IdMap
from models.protocols import moment_text

_BATCH = 1000


@dataclass(frozen=True)
class Published:
    """Lists of a release.

    Attributes:
        users, own: how many were asked for, and how many have lists of their own in the release.
    """

    release_id: str
    as_of: datetime
    lists: ModelLists
    users: int
    own: int

    def saw(self, moments: NDArray[np.float64]) -> bool:
        """Whether the release knows of anything after a moment at which a list is to be made, in seconds."""
        return bool((moments < self.as_of.timestamp()).any())

    def notes(self, moments: NDArray[np.float64]) -> list[str]:
        """Sentences on what the lists are.

        Args:
            moments: seconds at which the lists of the users with truth are to be made; all 0 where no times are known.
        """
        return [
            *self._warnings(moments),
            f"ours are the lists of release {self.release_id} as of {self.as_of.isoformat()}, business rules in them",
            f"{self.users - self.own} of {self.users} users have no list in it: they get the popular list",
        ]

    def _warnings(self, moments: NDArray[np.float64]) -> list[str]:
        if not self.saw(moments):
            return []
        if not moments.any():
            return ["WARNING: the files hold no times: whether the release has seen the truth cannot be told"]
        early = int((moments < self.as_of.timestamp()).sum())
        return [
            f"WARNING: release {self.release_id} is as of {self.as_of.isoformat()}, later than the lists of {early} of "
            f"{len(moments)} users with truth are to be made (the first at {moment_text(float(moments.min()))}): these "
            "lists saw the truth, their figures are no measure; take a release from before, or a later cut"
        ]


def published_lists(release: str, user_ids: NDArray[np.str_], items: IdMap, *, k: int) -> Published:
    """Lists of users, `k` wide, topped up with popular items as the API does it.

    Args:
        release: `current`, or the id of a release.

    Raises:
        InputError: there is no such release, it is not whole, or Redis does not answer.
    """
    from jobs.release_store import ReleaseError
    from jobs.releases import pointer, publisher
    from jobs.settings import settings
    from serving.online_store import CorruptArtefactError, IncompleteReleaseError, check_release_id

    config = settings()
    try:
        with publisher(config) as client:
            chosen = pointer(client, config.domain)[0] if release == "current" else release
            if chosen is None:
                raise InputError("--release current: expected a published release, got none: run `make demo` first")
            try:
                check_release_id(chosen)
            except ValueError as problem:
                raise InputError(f"--release: {problem}; `sluice release list` shows them") from problem
            lists, own, as_of = _read(client, config.domain, chosen, user_ids, items, k=k)
    except (ReleaseError, IncompleteReleaseError, CorruptArtefactError) as problem:
        raise InputError(f"--release {release}: {problem}") from problem
    return Published(chosen, as_of, lists, len(user_ids), own)


def _read(
    client: Any, domain: str, release_id: str, user_ids: NDArray[np.str_], known: IdMap, *, k: int
) -> tuple[ModelLists, int, datetime]:
    from jobs.release_store import read_artefact, read_manifest
    from serving.online_store import Keys, decode_ranked, join_item_shards, unpack_item_shard
    from serving.online_store.items import item_shards

    keys = Keys(domain)
    manifest = read_manifest(client, keys, release_id)
    table = join_item_shards(
        [
            unpack_item_shard(name, read_artefact(client, keys, manifest, name))
            for name in item_shards(manifest.artefacts)
        ]
    )
    to_split = known.positions(np.array(table.item_ids, dtype=np.str_))
    content = read_artefact(client, keys, manifest, "popular")
    popular = decode_ranked("popular", content, item_count=len(table)).items.astype(np.int64)
    found: dict[str, IntArray] = {}
    own = 0
    for surface in (HOME, DISCOVER):
        stored = _stored(client, keys, release_id, surface, user_ids, items=len(table))
        own = max(own, sum(one is not None for one in stored))
        # as the API does it: a popular item may be one that the user has bought, so discover ends where it ends
        found[surface] = _topped_up(stored, popular, to_split, k, fill=surface == HOME)
    return ModelLists(found[HOME], found[DISCOVER]), own, manifest.as_of


def _stored(
    client: Any, keys: Any, release_id: str, surface: str, users: NDArray[np.str_], *, items: int
) -> list[NDArray[np.int64] | None]:
    """Item indices of each user's list, None for users without one."""
    from serving.online_store import unpack_list

    names = [keys.user_list(release_id, surface, user) for user in users.tolist()]
    found: list[NDArray[np.int64] | None] = []
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        for name, blob in zip(batch, client.mget(batch), strict=True):
            listed = None if blob is None else unpack_list(name, blob, item_count=items).items.astype(np.int64)
            found.append(listed)
    return found


def _topped_up(
    stored: list[NDArray[np.int64] | None],
    popular: NDArray[np.int64],
    to_split: NDArray[np.int64],
    k: int,
    *,
    fill: bool,
) -> IntArray:
    """Lists of width k: users without one get the popular list; `fill` tops up short ones."""
    lists = np.full((len(stored), k), PAD, dtype=np.int64)
    for row, own in enumerate(stored):
        items = popular[:k] if own is None else own[:k]
        if fill and len(items) < k:
            items = np.concatenate([items, popular[~np.isin(popular, items)]])[:k]
        lists[row, : len(items)] = to_split[items]
    return lists
