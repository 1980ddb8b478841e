"""The sockets that the API listens on, taken before anything of it starts: a taken port is one line, not a start."""

import errno
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

BACKLOG = 2048
"""Connections that wait to be accepted; uvicorn's own default."""
_LISTENING = "0A"
"""The state of a listening socket in /proc/net/tcp."""


class AddressError(OSError):
    """The API cannot have its address; says which, why and what to do."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on each address that a host name stands for, as uvicorn would.

    They listen at once, since two processes may bind one port as long as neither does: a caller that comes while the
    release is loaded waits for it.

    Raises:
        AddressError: the name or one of its addresses cannot be had.
    """
    try:
        with ExitStack() as opened:
            listening = _listen(host, port, opened)
            opened.pop_all()
    except (OSError, UnicodeError) as refusal:  # the second of a name that cannot be one
        raise AddressError(_in_words(host, port, refusal)) from refusal
    return listening


def _listen(host: str, port: int, opened: ExitStack) -> list[socket.socket]:
    listening = []
    lacking: OSError | None = None
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            one = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have just ended hold no port
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
            one.bind(address)
            one.listen(BACKLOG)
            listening.append(one)
        except OSError as refusal:
            if refusal.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
            lacking = refusal  # localhost is ::1, too, on a machine without IPv6
    if lacking and not listening:
        raise lacking
    return listening


def _in_words(host: str, port: int, refusal: OSError | UnicodeError) -> str:
    what = f"the API cannot listen on {host}:{port}"
    number, why = (refusal.errno, refusal.strerror) if isinstance(refusal, OSError) else (None, None)
    if number == errno.EADDRINUSE:
        return f"{what}: the port is taken by {_holder(port)}. Stop it, or choose another port: SLUICE_PORT_API"
    if number == errno.EACCES:
        return f"{what}: this user may not use that port. Choose one above 1023: SLUICE_PORT_API"
    return f"{what}: {why or refusal}. Expected an address of this machine: SLUICE_HOST, SLUICE_PORT_API"


def _holder(port: int) -> str:
    """Who listens on a port, as far as Linux tells this user; the serving image has no psutil."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # of another user, or gone meanwhile
            if any(_target(one) in wanted for one in (process / "fd").iterdir()):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                return f"pid {process.name} ({' '.join(command.split())[:120]})"
    return "a process that this user cannot see"


def _target(descriptor: Path) -> str:
    """What an open file is; nothing where it has just been closed."""
    with suppress(OSError):
        return str(descriptor.readlink())
    return ""


def _inodes(port: int) -> list[str]:
    """Sockets that listen on a port."""
    rows = []
    for table in ("tcp", "tcp6"):
        try:
            rows += Path("/proc/net", table).read_text().splitlines()[1:]
        except OSError:
            continue
    fields = [row.split() for row in rows]
    return [row[9] for row in fields if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port]
