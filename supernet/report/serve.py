"""The page by HTTP for one browser that stays open: `python -m supernet.report RUN --serve`.

It serves the page and nothing else, on the loopback, to whoever is on this machine; elsewhere only
to who has the token.
"""

import hashlib
import hmac
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from lanas.errors import UserError, line_of
from supernet.report import page

EVERY = 10.0  # seconds between two pages, at least
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Pages:
    """The page of some runs, written anew when their files have changed."""

    def __init__(self, runs: Sequence[str], tags: Sequence[str] | None = None) -> None:
        self.runs, self.tags = list(runs), tags
        self.lock, self.seen, self.made = threading.Lock(), "", 0.0
        self.text, self.mark = "", ""

    def get(self) -> tuple[bytes, str]:
        """The page and what tells it from an earlier one."""
        with self.lock:
            state = "" if self.text and time.monotonic() - self.made < EVERY else self._state()
            if state and state != self.seen:
                mark = f'"{hashlib.sha256(state.encode()).hexdigest()[:16]}"'
                self.text = page.build(self.runs, self.tags, served=mark)
                self.mark, self.seen, self.made = mark, state, time.monotonic()
            return self.text.encode(), self.mark

    def _state(self) -> str:
        """When which files were changed last; the page itself is none of them."""
        found = []
        for run in self.runs:
            for base, _, names in os.walk(run):
                for name in names:
                    if name.endswith((".json", ".jsonl", ".csv", ".npz")):
                        path = os.path.join(base, name)
                        try:
                            status = os.stat(path)
                        except OSError:
                            continue
                        found.append(f"{path} {status.st_mtime_ns} {status.st_size}")
        return "\n".join(sorted(found)) or "nothing"


class _Server6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


def server(
    pages: Pages, host: str = "127.0.0.1", port: int = 0, token: str | None = None
) -> tuple[ThreadingHTTPServer, str]:
    """A server that is not yet running, and its address. port: 0 for any that is free.

    On another host than the loopback it asks for a token, drawn at random where none is given.
    UserError where it cannot listen there.
    """
    if host not in LOOPBACK:
        token = token or secrets.token_urlsafe(16)
    handler = _handler(pages.get, token, host in LOOPBACK)
    try:
        found = (_Server6 if ":" in host else ThreadingHTTPServer)((host, port), handler)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"--host {host} --port {port}: {reason}") from None
    query = f"?{urlencode({'token': token})}" if token else ""
    name = f"[{host}]" if ":" in host else host
    return found, f"http://{name}:{found.server_address[1]}/{query}"


def _handler(
    get: Callable[[], tuple[bytes, str]], token: str | None, local: bool
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "lanas", ""

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, body: bool) -> None:
            asked = urlsplit(self.path)
            given = parse_qs(asked.query).get("token", [""])[0]
            host = re.sub(r":\d+$", "", self.headers.get("Host") or "").strip("[]")
            if token and not hmac.compare_digest(given.encode(), token.encode()):
                self.send_error(403, "token needed: the address that was printed has it")
            elif local and host not in LOOPBACK:  # another site's name that leads here
                self.send_error(403, "this address only")
            elif asked.path != "/":
                self.send_error(404, "there is nothing but the page")
            else:
                self._page(body)

        def _page(self, body: bool) -> None:
            try:
                text, mark = get()
            except (UserError, OSError) as error:
                self.send_error(503, "no page", line_of(error))
                return
            self.send_response(200)
            for name, value in (
                ("Content-Type", "text/html; charset=utf-8"),
                ("Content-Length", str(len(text))),
                ("ETag", mark),
                ("Cache-Control", "no-store"),
                ("X-Content-Type-Options", "nosniff"),
                ("Referrer-Policy", "no-referrer"),
                ("X-Frame-Options", "DENY"),
            ):
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def run(
    runs: Sequence[str], tags: Sequence[str] | None, host: str, port: int, token: str | None
) -> None:
    """Serve until Ctrl-C; says the address first. UserError where there is no page to serve."""
    for folder in runs:
        if not Path(folder).is_dir():
            raise UserError(f"no run folder {folder!r}; train_supernet.py makes one")
    pages = Pages(runs, tags)
    pages.get()  # what is wrong is said first
    found, address = server(pages, host, port, token)
    print(f"report: {address} (Ctrl-C ends it)", flush=True)
    with found:
        found.serve_forever()
