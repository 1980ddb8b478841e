"""`python -m serving`: the API under uvicorn (uvloop, httptools), one worker. SIGTERM drains and ends within 10 s."""

import argparse
from contextlib import suppress

import uvicorn
from pydantic import ValidationError
from uvicorn.config import STARTUP_FAILURE

from serving.app import create_app
from serving.listening import BACKLOG, AddressError, listen
from serving.protocol import Protocol
from serving.settings import in_words, serving_settings


def main() -> None:
    """Serve until stopped.

    Raises:
        SystemExit: a setting has a value that it cannot have, the address cannot be had, or the start failed.
    """
    try:
        config = serving_settings()
        listening = listen(config.host, config.port_api)  # first: what the log calls started can be reached
    except ValidationError as problem:
        raise SystemExit(f"{in_words(problem)}. .env.example lists every setting with its forms") from None
    except AddressError as problem:
        raise SystemExit(str(problem)) from None
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(config),
            backlog=BACKLOG,
            loop="uvloop",
            http=Protocol,
            access_log=False,  # uvicorn's own would write user ids; serving.edge logs requests
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=8,
            timeout_keep_alive=30,
            ws="none",
        )
    )
    with suppress(KeyboardInterrupt):  # Ctrl+C, which uvicorn raises again once it has drained
        server.run(listening)
    if not server.started:
        raise SystemExit(STARTUP_FAILURE)


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m serving", description="Serve the API until stopped; the settings say where (.env.example)."
    ).parse_args()
    main()
