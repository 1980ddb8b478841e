"""Follows `rec:{domain}:current`: loads a new release beside the old one, then swaps one reference."""

import asyncio
import gc
from typing import Any

from serving.metrics import Metrics
from serving.online_store import CorruptArtefactError, IncompleteReleaseError, Keys, check_release_id
from serving.release import LoadedRelease, load_release
from serving.settings import ServingSettings
from serving.snapshot import EMPTY, Snapshot, load_snapshot, save_snapshot, take_snapshot
from serving.store import Store, StoreUnavailableError

_FAILED_LOOKS = 2
"""That Redis does not answer is told from the second look on: one late answer is nothing that anybody need know."""


class ReleaseWatcher:
    """Owner of the release in service. Requests read `release` once each, so no answer mixes two."""

    def __init__(self, config: ServingSettings, store: Store, metrics: Metrics, log: Any) -> None:
        self._config, self._store, self._metrics, self._log = config, store, metrics, log
        self._keys = Keys(config.domain)
        self.refused: str | None = None
        """Release that the pointer names and that is damaged or not whole; it is tried again at every look."""
        self._stopping = False
        self.release: LoadedRelease | None = None
        self.release_lost = False
        """Redis answers, but has no pointer any more, or nothing of the release in service: its lists are gone."""
        self.named: str | None = None  # what the pointer said last
        self.snapshot: Snapshot = EMPTY
        self._redis = "up"  # what the log said last
        self._failed_looks = _FAILED_LOOKS - 1  # at the start the first one is told

    async def start(self) -> None:
        """Load what there is; a platform without Redis or without a release starts all the same."""
        self.snapshot = await asyncio.to_thread(load_snapshot, self._config.snapshot_file, self._log)
        await self.look()

    async def watch(self) -> None:
        """Look at the pointer until `stop`."""
        while not self._stopping:
            await asyncio.sleep(self._config.release_poll_ms / 1000)
            await self.look()

    async def stop(self, watching: "asyncio.Task[None]") -> None:
        """End `watch`. A cancellation that meets a timeout inside the Redis client can be swallowed there (seen: the
        API never ended), so the loop also looks at a flag."""
        self._stopping = True
        watching.cancel()
        await asyncio.wait({watching})

    async def look(self) -> None:
        """One look at the pointer; takes a new release into service. Never raises: the old one keeps serving."""
        try:
            pointer = await self._store.get(self._keys.current)
            self.named = None if pointer is None else pointer.decode("ascii", "replace")
            if self.named is not None:
                await self._follow(self.named)
            self.release_lost = self.release is not None and (
                pointer is None or not await self._store.exists(self._keys.manifest(self.release.release_id))
            )
            self._redis_answers()
        except StoreUnavailableError:
            self._redis_fails()
        except Exception as problem:
            self._log.error("release_watch_failed", error=f"{type(problem).__name__}: {problem}"[:500])

    def _redis_answers(self) -> None:
        self._failed_looks = 0
        if self._redis != "up":
            self._redis = "up"
            self._log.info("redis_back")

    def _redis_fails(self) -> None:
        """Say it once per state; with the exception's type alone, for its message may hold a user's key."""
        trouble = self._store.trouble
        if trouble is None:
            return
        self._failed_looks = 0 if trouble.state == "refused" else self._failed_looks + 1
        if trouble.state == self._redis:
            return
        if trouble.state == "refused" or self._failed_looks >= _FAILED_LOOKS:
            self._redis = trouble.state
            self._log.error("redis_away", state=trouble.state, error=trouble.error, detail=trouble.detail)

    async def _follow(self, release_id: str) -> None:
        if self.release is not None and self.release.release_id == release_id:
            self.refused = None
            return
        try:
            check_release_id(release_id)
            release = await load_release(self._store, self._keys, release_id)
        except (CorruptArtefactError, IncompleteReleaseError, ValueError) as problem:
            if self.refused != release_id:  # said once per release, tried again at every look
                self.refused = release_id
                self._metrics.corrupt.inc()
                self._log.error("release_refused", release=release_id[:64], error=str(problem)[:500])
            return
        self._swap(release)
        await self._remember(release)

    def _swap(self, release: LoadedRelease) -> None:
        before, self.release = self.release, release
        self.release_lost = False  # it has just been read; whether it still is there, the end of this look says
        self.refused = None
        self._metrics.swaps.inc()
        if before is not None and release.manifest.created_at < before.manifest.created_at:
            self._metrics.rollbacks.inc()
        self._metrics.serve_release(
            release.release_id, release.manifest.as_of.timestamp(), has_index=release.vectors is not None
        )
        self._log.info(
            "release_in_service", release=release.release_id, previous=before.release_id if before else None,
            items=len(release.items), users=release.manifest.counts.get("users"),
        )  # fmt: skip
        # Long-lived objects: kept out of every later full collection (a pause of tens of milliseconds). Releases hold
        # no cycles, so a frozen one is still freed when its last reader lets go of it.
        gc.freeze()

    async def _remember(self, release: LoadedRelease) -> None:
        self.snapshot = await asyncio.to_thread(take_snapshot, release)
        try:
            await asyncio.to_thread(save_snapshot, self._config.snapshot_file, self.snapshot)
        except OSError as problem:  # a read-only image: the snapshot in memory still serves
            self._log.warning("snapshot_not_saved", error=str(problem))
