"""A real browser, headless, and a server on the loopback that notices whoever calls."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frame_vit.images.pixel_array import UInt8

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--virtual-time-budget=4000",
]


def screenshot(page: Path, width: int = 1280, height: int = 2000, fragment: str = "") -> UInt8:
    """What the page looks like at a place in it, (height, width, 3) uint8."""
    with tempfile.TemporaryDirectory() as home:
        _run(
            home, f"--window-size={width},{height}", f"--screenshot={home}/page.png", page.resolve().as_uri() + fragment
        )
        with Image.open(io.BytesIO(Path(home, "page.png").read_bytes())) as image:
            return np.asarray(image.convert("RGB"))


def dom(page: Path, fragment: str = "") -> str:
    """The document as the browser made it, after its scripts (if any) have run."""
    with tempfile.TemporaryDirectory() as home:
        return _run(home, "--dump-dom", page.resolve().as_uri() + fragment)


def _run(home: str, *arguments: str) -> str:
    assert CHROMIUM
    command = [CHROMIUM, *OPTIONS, f"--user-data-dir={home}/profile", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A server's address, and the paths that were asked for."""
    calls: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", calls
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
