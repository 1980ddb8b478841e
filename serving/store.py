"""The API's only reader of Redis: short waits, a breaker, and one exception for everything that can go wrong."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from serving.breaker import Breaker
from serving.settings import ServingSettings

_LOAD_TIMEOUT_SECONDS = 2.0
_NOT_ASKED = "Redis failed repeatedly: not asked until the breaker lets a probe through"
_USER = "serving"
_SETTING = "SLUICE_REDIS_SERVING_PASSWORD (or the file secrets/sluice_redis_serving_password)"
_NO_PASSWORD = f"Redis asks for a password and this API has none: set {_SETTING} and start the API again"
_REFUSED = (
    f"Redis refuses the password of this API's user `{_USER}`: compare {_SETTING} with Redis's own for that user, "
    "and start the API again"
)
_FORBIDDEN = (
    f"Redis lets this API in and does not let it read: its user (`{_USER}` where SLUICE_REDIS_SERVING_PASSWORD is set) "
    "needs `~rec:* +@read +@connection`"
)
_SILENT = "Redis does not answer ({name}) where SLUICE_REDIS_URL, or SLUICE_HOST and SLUICE_PORT_REDIS, say that it is"
_UNUSABLE = (
    "no usable answer ({name}) from where SLUICE_REDIS_URL, or SLUICE_HOST and SLUICE_PORT_REDIS, say that Redis is"
)
_Value = TypeVar("_Value")


class StoreUnavailableError(RuntimeError):
    """Redis gave no answer in time, or the breaker is open and it was not asked."""


@dataclass(frozen=True)
class Trouble:
    """Why Redis is of no use now. A refusal does not pass by itself; silence may."""

    state: Literal["down", "refused"]
    error: str
    """Type of the exception; never its message, which may hold the key, and so the id, of a user."""
    detail: str


class Store:
    """Two pools: one for requests, which wait milliseconds; one for loading releases, which may wait seconds."""

    def __init__(self, config: ServingSettings, breaker: Breaker) -> None:
        self.breaker = breaker
        self.trouble: Trouble | None = None
        """What the last command failed of; none once one has worked."""
        self._has_password = bool(config.redis_serving_password)
        self._timeout = config.redis_timeout_ms / 1000
        self._fast = self._client(config, self._timeout, connections=64)
        self._slow = self._client(config, _LOAD_TIMEOUT_SECONDS, connections=2)

    @staticmethod
    def _client(config: ServingSettings, timeout: float, *, connections: int) -> Any:
        password = config.redis_serving_password
        pool = BlockingConnectionPool.from_url(
            config.redis_base_url,
            username=_USER if password else None,
            password=password.get_secret_value() if password else None,
            max_connections=connections,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(ExponentialBackoff(cap=0.01, base=0.001), 1),
            retry_on_error=[ConnectionError],
            health_check_interval=0,
        )
        return Redis.from_pool(pool)

    async def get(self, key: str) -> bytes | None:
        """Value of a key for a request.

        Raises:
            StoreUnavailableError: no answer within the time limit, an error, or the breaker is open.
        """
        if not self.breaker.allow():
            raise StoreUnavailableError(_NOT_ASKED)
        return await self._ask(self._fast.get(key), self._timeout)

    async def exists(self, key: str) -> bool:
        """Whether a key is there, without its value; raises as `get` does."""
        if not self.breaker.allow():
            raise StoreUnavailableError(_NOT_ASKED)
        return bool(await self._ask(self._fast.exists(key), self._timeout))

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Values of keys for a request, in one command; raises as `get` does."""
        if not keys:
            return []
        if not self.breaker.allow():
            raise StoreUnavailableError(_NOT_ASKED)
        return await self._ask(self._fast.mget(keys), self._timeout)

    async def fetch(self, keys: list[str]) -> list[bytes | None]:
        """Values of artefact keys, one command each; they are half a megabyte, so the wait is longer."""
        return [await self._ask(self._slow.get(key), _LOAD_TIMEOUT_SECONDS) for key in keys]

    async def _ask(self, command: Awaitable[_Value], seconds: float) -> _Value:
        try:
            async with asyncio.timeout(seconds):
                value = await command
        except (RedisError, OSError, TimeoutError) as problem:
            self.breaker.failed()
            self.trouble = self._told(problem)
            raise StoreUnavailableError(f"Redis: {type(problem).__name__}") from problem
        except BaseException:
            self.breaker.abandoned()
            raise
        self.breaker.succeeded()
        self.trouble = None
        return value

    def _told(self, problem: Exception) -> Trouble:
        name = type(problem).__name__
        if isinstance(problem, AuthenticationError | AuthorizationError):
            return Trouble("refused", name, _REFUSED if self._has_password else _NO_PASSWORD)
        if isinstance(problem, NoPermissionError):
            return Trouble("refused", name, _FORBIDDEN)
        answered = isinstance(problem, ResponseError | InvalidResponse | BusyLoadingError)
        return Trouble("down", name, (_UNUSABLE if answered else _SILENT).format(name=name))

    async def close(self) -> None:
        """Close both pools."""
        await self._fast.aclose()
        await self._slow.aclose()
