"""How a person is asked to open the page: a link, and a QR code where a phone can reach it."""

from __future__ import annotations

import io
import sys
from typing import TextIO


def invite(link: str, *, reachable: bool, stream: TextIO | None = None) -> None:
    """Show the link; with a QR code where other machines can reach it and a terminal shows it.

    Args:
        link: the page's address.
        reachable: whether it is an address for other machines.
        stream: standard error by default, so that results stay alone on standard output.
    """
    out = stream or sys.stderr
    print(f"Open this page in the browser to measure, and keep it in front:\n  {link}", file=out)
    if not reachable:
        print(
            "It is for browsers on this machine; for a phone on the same network use web://0.0.0.0:PORT",
            file=out,
        )
    elif out.isatty():
        print(qr_code(link) or "(pip install 'tdedge[web]' shows it as a QR code)", file=out)
    out.flush()


def qr_code(text: str) -> str:
    """A QR code for a terminal; empty where the package that draws it is not installed."""
    try:
        import segno
    except ImportError:
        return ""
    drawn = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(drawn, compact=True)
    return drawn.getvalue()
