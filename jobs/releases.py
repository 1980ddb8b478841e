"""Releases in Redis: list them, move the pointer forward or back. The one mover of `rec:{domain}:current`.

Moving is one MULTI/EXEC guarded by WATCH: readers see the old release or the new one, never half of one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jobs.batch_metrics import record_move
from jobs.release_store import ReleaseError, check_release, connect, keep_for_good, read_manifest
from jobs.settings import Settings
from serving.online_store import CorruptArtefactError, IncompleteReleaseError, Keys, check_release_id


@dataclass(frozen=True)
class Release:
    """One release that Redis holds."""

    release_id: str
    state: str  # current | previous | kept | half-written | corrupt
    as_of: str
    created_at: str
    model_version: str
    users: int
    items: int
    rolled_back: bool


@dataclass(frozen=True)
class PointerMove:
    """What the pointer was and is now."""

    current: str
    previous: str | None
    changed: bool

    def __str__(self) -> str:
        verb = "is now current" if self.changed else "was current already"
        return f"release {self.current} {verb}; previous: {self.previous or 'none'}"


@contextmanager
def publisher(config: Settings) -> Iterator[Any]:
    """A connected client; a Redis that does not answer, or refuses the password, is named with its cure."""
    import redis

    try:
        with connect(config) as client:
            yield client
    except redis.AuthenticationError as problem:  # a ConnectionError of redis-py's, from a Redis that does answer
        raise ReleaseError(_refused_password(config, problem)) from problem
    except (redis.ConnectionError, redis.TimeoutError) as problem:
        raise ReleaseError(
            f"Redis does not answer at {config.redis_base_url}: `make up`, `make status` ({problem})"
        ) from problem


def _refused_password(config: Settings, problem: Exception) -> str:
    """Whose password was refused, where it is set, and what was given."""
    given = "another one" if config.redis_publisher_password else "none"
    return (
        f"Redis at {config.redis_base_url} refuses the password of its user 'publisher' ({problem}): expected that "
        "user's password in SLUICE_REDIS_PUBLISHER_PASSWORD (environment or .env) or in "
        f"secrets/sluice_redis_publisher_password under SLUICE_HOME={config.home}, got {given}. Correct it there, or "
        "SLUICE_REDIS_URL and SLUICE_HOME when that Redis belongs to another home"
    )


def _text(value: Any) -> str | None:
    return value.decode(errors="replace") if value is not None else None  # broken bytes name no release


def pointer(client: Any, domain: str) -> tuple[str | None, str | None]:
    """Ids of the current and the previous release."""
    current, previous = client.mget(Keys(domain).current, Keys(domain).previous)
    return _text(current), _text(previous)


def readable_release(client: Any, domain: str) -> str | None:
    """Id of the current release by its manifest; None when there is none, or when Redis has lost that."""
    current, _ = pointer(client, domain)
    if current is None:
        return None
    try:
        read_manifest(client, Keys(domain), current)
    except (IncompleteReleaseError, CorruptArtefactError, ValueError):
        return None
    return current


def _describe(client: Any, keys: Keys, release_id: str, state: str, rolled_back: bool) -> Release:
    try:
        manifest = read_manifest(client, keys, release_id)
    except (IncompleteReleaseError, CorruptArtefactError) as problem:
        wrong = "half-written" if isinstance(problem, IncompleteReleaseError) else "corrupt"
        return Release(release_id, wrong, "", "", "", 0, 0, rolled_back)
    return Release(
        release_id,
        state,
        manifest.as_of.isoformat(),
        manifest.created_at.isoformat(),
        manifest.model_version,
        manifest.counts.get("users", 0),
        manifest.counts.get("items", 0),
        rolled_back,
    )


def list_releases(domain: str, config: Settings) -> list[Release]:
    """Releases of a domain, newest first."""
    keys = Keys(domain)
    with publisher(config) as client:
        current, previous = pointer(client, domain)
        states = {previous: "previous", current: "current"}
        undone = {value.decode() for value in client.smembers(keys.rolled_back)}
        ids = [value.decode() for value in client.zrevrange(keys.releases, 0, -1)]
        return [_describe(client, keys, one, states.get(one, "kept"), one in undone) for one in ids]


def move_pointer(client: Any, domain: str, release_id: str, *, by_hand: bool) -> PointerMove:
    """Make a checked release current; its predecessor, when it is one, becomes the previous one.

    A person's choice (`by_hand`) also says what the publisher may do: going back to an older release marks the one
    that was left, so that the next publish does not bring it back; choosing a release clears its mark.

    Raises:
        ReleaseError: the release is not listed, or not any more: its keys may be about to expire.
    """
    import redis

    keys = Keys(domain)
    while True:
        with client.pipeline(transaction=True) as pipe:
            pipe.watch(keys.current, keys.previous, keys.releases)
            current, previous = pointer(pipe, domain)
            made = _listed_with(pipe, keys, release_id)
            goes_back = current in made and made[release_id] < made[current]
            if current in made and current != release_id:
                previous = current
            pipe.multi()
            if previous is not None:
                pipe.set(keys.previous, previous)
            pipe.set(keys.current, release_id)
            if by_hand:
                pipe.srem(keys.rolled_back, release_id)
            if by_hand and goes_back:
                pipe.sadd(keys.rolled_back, current)
            try:
                pipe.execute()
            except redis.WatchError:  # somebody else moved it meanwhile, or retired a release: look again
                continue
            return PointerMove(release_id, previous, changed=current != release_id)


def _listed_with(client: Any, keys: Keys, release_id: str) -> dict[str, float]:
    """When each listed release was made, newest first; refused unless the given one is among them."""
    made = {one.decode(): float(at) for one, at in client.zrevrange(keys.releases, 0, -1, withscores=True)}
    if release_id not in made:
        raise ReleaseError(f"there is no release {release_id}; Redis holds: {', '.join(made) or 'none'}")
    return made


def activate(domain: str, release_id: str, config: Settings) -> PointerMove:
    """Make a release current by hand, once the whole of it has been read back.

    Raises:
        ReleaseError: there is no such release, it is half written or corrupt, or Redis does not answer.
    """
    try:
        check_release_id(release_id)
    except ValueError as problem:
        raise ReleaseError(str(problem)) from problem
    with publisher(config) as client:
        _listed_with(client, Keys(domain), release_id)
        keep_for_good(client, domain, release_id)  # before the check: what it has found whole does not expire then
        check_release(client, domain, release_id)
        move = move_pointer(client, domain, release_id, by_hand=True)
    if move.changed:
        record_move(config, domain, release_id, is_rollback=False)
    return move


def rollback(domain: str, config: Settings) -> PointerMove:
    """Go back to the previous release; the publisher will not bring the release that was left back by itself.

    Raises:
        ReleaseError: there is no previous release, or it is not whole, or Redis does not answer.
    """
    with publisher(config) as client:
        current, previous = pointer(client, domain)
        if previous is None:
            raise ReleaseError(f"there is no previous release of {domain} to go back to (current: {current or 'none'})")
        check_release(client, domain, previous)
        move = move_pointer(client, domain, previous, by_hand=True)
    record_move(config, domain, previous, is_rollback=True)
    return move
