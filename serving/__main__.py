"""`python -m serving`: the API under uvicorn (uvloop, httptools), one worker. SIGTERM drains and ends within 10 s."""

import argparse

import uvicorn
from pydantic import ValidationError

from serving.app import create_app
from serving.protocol import Protocol
from serving.settings import in_words, serving_settings


def main() -> None:
    """Serve until stopped.

    Raises:
        SystemExit: a setting has a value that it cannot have.
    """
    try:
        config = serving_settings()
    except ValidationError as problem:
        raise SystemExit(f"{in_words(problem)}. .env.example lists every setting with its forms") from None
    uvicorn.run(
        create_app(config),
        host=config.host,
        port=config.port_api,
        loop="uvloop",
        http=Protocol,
        access_log=False,  # uvicorn's own would write user ids; serving.edge logs requests
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=8,
        timeout_keep_alive=30,
        ws="none",
    )


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m serving", description="Serve the API until stopped; the settings say where (.env.example)."
    ).parse_args()
    main()
