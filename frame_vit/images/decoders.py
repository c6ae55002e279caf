"""Decoding in processes of their own, so that a file that crashes or hangs a decoder costs one row, and nothing else.

Decoders are C code, and pictures come from outside. A process of this pool reads requests on its stdin and answers on
its stdout: a line of JSON, then raw bytes. No pickles are exchanged, since a decoder that was taken over could answer
with one. A process that died is replaced; one that works on a picture for too long ends itself.

A process takes 0.15 s to start, which overlaps with loading the model (`start`). Where a command predicts one picture
and nothing else depends on it, `decode_here` does without.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from frame_vit.errors import RowError
from frame_vit.images.decode import Stored, TooLargeError
from frame_vit.images.preprocessing import Picture, Preprocessing, read_picture
from frame_vit.system.machine import cores

LIMIT_S, LIMIT_PER_MEGAPIXEL_S = 10.0, 0.3
"""The longest that a picture may take; one of a hundred megapixels needs about five seconds."""
LARGE = 8.0
"""Megapixels from which a picture waits for its share of BUDGET."""
BUDGET = 150.0
"""Megapixels of large pictures that are decoded at once, in all processes together; about 1 GB."""
MOST = 16
"""Processes by default; each takes 60 MB, and so many decode faster than any model here answers."""
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from frame_vit.images import decoders; decoders.serve()"


class Decoders:
    """A pool of decoder processes. They are started when they are needed, end with this object, and start again.

    `decode` may be called from as many threads as there are processes.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count or min(cores(), MOST)
        self._processes: list[_Process] = []
        self._idle: list[_Process] = []
        self._change = threading.Condition()
        self._budget = BUDGET
        self._end = weakref.finalize(self, _kill, self._processes)

    def start(self, count: int) -> None:
        """Starts up to `count` processes without waiting for them."""
        with self._change:
            while len(self._processes) < min(count, self.count):
                self._processes.append(_Process())
                self._idle.append(self._processes[-1])

    def close(self) -> None:
        """Kills all processes, whatever they are doing; a picture that one of them works on becomes an error."""
        _kill(self._processes)

    def decode(self, source: bytes | Path, preprocessing: Preprocessing) -> Picture:
        """A file or its bytes, decoded to the model's size. Raises `RowError` with the reason if it cannot be used."""
        request: dict[str, Any] = {"preprocessing": preprocessing.to_json(), "megapixels": LARGE}
        data = b""
        if isinstance(source, Path):
            # The path may be relative, and this process may have changed its folder since it started the other one.
            request["path"] = os.path.abspath(source)  # noqa: PTH100  (no error for names that no file can have)
        else:
            data = source
        with self._process() as process:
            answer, pixels = process.ask(request, data)
            if "megapixels" in answer:
                with self._share(answer["megapixels"]):
                    answer, pixels = process.ask(request | {"megapixels": answer["megapixels"]}, data)
        if "error" in answer:
            raise RowError(answer["error"], answer["code"])
        array = np.frombuffer(pixels, np.uint8).reshape(preprocessing.height, preprocessing.width, 3)
        return Picture(array, answer["width"], answer["height"], Stored(*answer["stored"]), answer["sha256"])

    @contextmanager
    def _process(self) -> Iterator[_Process]:
        """An idle process; a new one where all are busy and the pool is not full."""
        with self._change:
            if not self._idle and len(self._processes) < self.count:
                self._processes.append(_Process())
                self._idle.append(self._processes[-1])
            self._change.wait_for(lambda: self._idle)
            process = self._idle.pop(0)
        try:
            yield process
        finally:
            with self._change:
                self._idle.append(process)
                self._change.notify_all()

    @contextmanager
    def _share(self, megapixels: float) -> Iterator[None]:
        """Waits until the large pictures that are being decoded leave room for one more; the largest goes alone."""
        need = min(megapixels, BUDGET)
        with self._change:
            self._change.wait_for(lambda: self._budget >= need)
            self._budget -= need
        try:
            yield
        finally:
            with self._change:
                self._budget += need
                self._change.notify_all()


class _Process:
    """One decoder process, replaced when it is lost."""

    def __init__(self) -> None:
        self._running: subprocess.Popen[bytes] | None = None
        self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self.kill()  # closes the pipes of one that died
        root = str(Path(__file__).parents[2])
        debug = bool(os.environ.get("FRAMEVIT_DEBUG"))
        self._running = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if debug else subprocess.DEVNULL,  # what C libraries say while they crash
            bufsize=1 << 20,
            process_group=None if os.name == "nt" else 0,  # Ctrl-C is for the program, which ends this one
        )
        return self._running

    def ask(self, request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """The answer to a request, and the pixels that follow it. Raises `RowError` where the process is lost."""
        running = self._running if self._running and self._running.poll() is None else self._start()
        assert running.stdin is not None
        assert running.stdout is not None
        limit = LIMIT_S + LIMIT_PER_MEGAPIXEL_S * request["megapixels"]
        began = time.monotonic()
        try:
            _write(running.stdin, request | {"limit": limit}, data)
            return _read(running.stdout)
        except (OSError, ValueError):  # a pipe that broke, an answer that stops in the middle
            late = time.monotonic() - began >= limit
            reason = _too_slow(limit) if late else _crash(running)
            self.kill()
            raise RowError(reason, "FV102") from None

    def kill(self) -> None:
        """Ends the process; what it was working on is lost."""
        if self._running is None:
            return
        self._running.kill()
        self._running.wait()
        for pipe in (self._running.stdin, self._running.stdout):
            with suppress(OSError):  # what was not written yet goes nowhere
                if pipe is not None:
                    pipe.close()


def _too_slow(limit: float) -> str:
    return f"decoding this picture took longer than {limit:.0f} s"


def _crash(process: subprocess.Popen[bytes]) -> str:
    """What happened to a process that died, with the signal that it died of."""
    with suppress(subprocess.TimeoutExpired, ValueError):
        name = signal.Signals(-process.wait(1)).name
        if name == "SIGKILL":
            return "the decoder was killed (SIGKILL), as happens when the machine has no memory left"
        return f"the decoder crashed on this picture ({name})"
    return "the decoder crashed on this picture"


@contextmanager
def decoding_threads(decoders: Decoders | None) -> Iterator[ThreadPoolExecutor]:
    """Threads that wait for decoders. Where the block is interrupted, the decoders are ended, since one may hang."""
    with ThreadPoolExecutor(decoders.count if decoders else cores()) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            if decoders is not None:
                decoders.close()
            raise


def decode_here(source: bytes | Path, preprocessing: Preprocessing) -> Picture:
    """Decodes one picture in a thread of this process. A decoder that hangs is left behind; one that crashes is not.

    Raises `RowError` with the reason if the picture cannot be used.
    """
    limit = LIMIT_S + LIMIT_PER_MEGAPIXEL_S * preprocessing.max_megapixels
    answers: queue.SimpleQueue[Picture | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put(read_picture(source, preprocessing))
        except Exception as error:  # raised again below, in the thread that waits
            answers.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        answer = answers.get(timeout=limit)
    except queue.Empty:
        raise RowError(_too_slow(limit), "FV102") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _kill(processes: list[_Process]) -> None:
    for process in processes:
        process.kill()


def _write(pipe: IO[bytes], header: dict[str, Any], data: bytes) -> None:
    pipe.write(json.dumps(header | {"bytes": len(data)}).encode() + b"\n")
    pipe.write(data)
    pipe.flush()


def _read(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Raises `ValueError` where the other side ends before or within a message."""
    header = json.loads(pipe.readline())
    data = pipe.read(header["bytes"])
    if len(data) < header["bytes"]:
        raise ValueError("the message is cut off")
    return header, data


def serve() -> None:
    """The decoder process: answers requests until its stdin is closed, which also happens when the program dies."""
    import simplejpeg  # noqa: F401  (loaded before the first picture comes, while the model is loaded elsewhere)

    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not print into the answers
    with Path(os.devnull).open("w") as nowhere:
        while True:
            try:
                request, data = _read(requests)
            except ValueError:
                return
            # A watchdog in C, because a decoder that hangs does not return to Python.
            faulthandler.dump_traceback_later(request["limit"], exit=True, file=nowhere)
            header, pixels = _answer(request, data)
            faulthandler.cancel_dump_traceback_later()
            _write(answers, header, pixels)


def _answer(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    preprocessing = Preprocessing.from_json(request["preprocessing"])
    limited = replace(preprocessing, max_megapixels=min(request["megapixels"], preprocessing.max_megapixels))
    try:
        picture = read_picture(Path(request["path"]) if "path" in request else data, limited)
    except TooLargeError as error:
        if error.megapixels > preprocessing.max_megapixels:
            error = TooLargeError(error.size, preprocessing.max_megapixels)
            return {"error": error.message, "code": error.code}, b""
        return {"megapixels": error.megapixels}, b""
    except RowError as error:
        return {"error": error.message, "code": error.code}, b""
    facts = {"width": picture.width, "height": picture.height, "stored": list(picture.stored)}
    return facts | {"sha256": picture.sha256}, picture.pixels.tobytes()
