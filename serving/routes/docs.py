"""`/docs`: one page drawn from openapi.json; nothing is loaded from the network, so it works offline."""

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)
_PAGE = (Path(__file__).resolve().parent.parent / "web" / "docs.html").read_text(encoding="utf-8")


def _policy(page: str) -> str:
    """Content security policy that lets this page's own script and style run, and nothing else."""
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)

    def hashes(texts: list[str]) -> str:
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; connect-src 'self'; script-src {hashes(scripts)}; style-src {hashes(styles)}; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


_HEADERS = {"content-security-policy": _policy(_PAGE)}


@router.get("/docs")
async def docs() -> Response:
    """The page."""
    return HTMLResponse(_PAGE, headers=_HEADERS)


@router.get("/")
async def root() -> Response:
    """Where to go."""
    return Response(status_code=307, headers={"location": "/docs"})
