"""The Hugging Face hub from outside: how a name on it looks, whether it answers, and how long it is waited for.

The hub's own client retries for minutes where nobody answers, where answers drip, and where they are 429 or 500. Here
one connection is tried beforehand, and `asking_hub` watches every request: where the hub gives nothing useful for the
time limit, the rest of the process works from the local cache, as with `HF_HUB_OFFLINE=1`, and a warning says so. What
the hub said in the end becomes an error in plain words.
Only the standard library: the hub's client is imported by those who download, and handed over.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

from frame_vit.errors import FrameVitError, UsageError
from frame_vit.system.progress import log

CONNECT_S = 5.0
"""Seconds that a first connection may take."""
TIMEOUT_S = 10.0
"""Seconds without anything useful from the hub until it is given up; FRAMEVIT_HUB_TIMEOUT sets others. With the start
of the program this is less than 15 s."""
ENOUGH = 1 << 16
"""Bytes of a download that count as progress within that time: fewer only drip."""
TRIES = 3
"""Answers such as 429 or 500 in a row until the hub is given up."""
_NAME = re.compile(r"[\w\-]+(\.[\w\-]+)*(/[\w\-]+(\.[\w\-]+)*)?(@[\w\-./]+)?")


def is_hub_name(text: str) -> bool:
    """Whether a text has the form of a name on the hub: `name` or `owner/name`, with or without `@revision`."""
    return _NAME.fullmatch(text) is not None


class HubName(NamedTuple):
    """A name on the hub, and a revision of it (branch, tag or commit); None is the newest."""

    name: str
    revision: str | None

    @classmethod
    def of(cls, text: str) -> HubName:
        """`owner/name` or `owner/name@revision`, taken apart."""
        name, _, revision = text.partition("@")
        return cls(name, revision or None)


@dataclass(frozen=True)
class HubState:
    """Whether the hub answers (None: it was not tried), and why, as a sentence."""

    url: str
    answers: bool | None
    reason: str


def hub_state(timeout: float = CONNECT_S) -> HubState:
    """Opens one connection to the hub, and sends nothing. With HF_HUB_OFFLINE or a proxy no connection is opened."""
    import urllib.parse  # here: `predict` with a local model needs none of them
    import urllib.request

    url = _url()
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return HubState(url, None, "HF_HUB_OFFLINE is set, so only the local cache is used")
    parts = urllib.parse.urlsplit(url)
    if parts.scheme in urllib.request.getproxies():
        return HubState(url, None, "a proxy leads to it, so no direct connection was tried")
    try:
        address = (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))
        _connect(address, timeout)
    except (OSError, ValueError) as error:  # ValueError: a port that is no number
        return HubState(url, False, str(error))
    return HubState(url, True, "it accepts connections")


def _url() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def _connect(address: tuple[str, int], timeout: float) -> None:
    """Opens and closes a connection. In a thread, because a look-up of a name has no time limit of its own."""
    import socket

    failed: list[OSError] = []

    def connect() -> None:
        try:
            socket.create_connection(address, timeout).close()
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout + 1)
    if thread.is_alive():
        raise TimeoutError(f"the name {address[0]} cannot be looked up")
    if failed:
        raise failed[0]


_given_up = ""
"""Why this process has stopped asking the hub; empty while it asks."""


@functools.cache
def check_hub() -> None:
    """Switches this process to the local cache where the hub does not accept a connection within CONNECT_S."""
    state = hub_state()
    if state.answers is False:
        _work_offline(f"does not answer ({state.reason})")


def _work_offline(reason: str) -> None:
    global _given_up
    _given_up = reason
    log.warning("the hub at %s %s; using the local cache", _url(), reason)
    os.environ["HF_HUB_OFFLINE"] = "1"
    # The libraries read the variable when they are imported, which may have happened already.
    for module, name in (("huggingface_hub.constants", "HF_HUB_OFFLINE"), ("datasets.config", "HF_HUB_OFFLINE")):
        if module in sys.modules:
            setattr(sys.modules[module], name, True)


def hub_timeout() -> float:
    """Seconds without anything useful until the hub is given up. Raises `UsageError` for a value that is none."""
    text = os.environ.get("FRAMEVIT_HUB_TIMEOUT", "")
    try:
        seconds = float(text) if text else TIMEOUT_S
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise UsageError(f"FRAMEVIT_HUB_TIMEOUT={text} is no number of seconds", "For example FRAMEVIT_HUB_TIMEOUT=60")
    return seconds


@contextmanager
def asking_hub(client: Any, what: str) -> Iterator[None]:
    """Bounds how long the hub is waited for while the block asks it for `what`; `client` is `huggingface_hub`.

    What is in the local cache is used where the hub gives nothing, and a warning says so. An error of the block becomes
    what the hub really said: `UsageError` where it knows no such name or does not give it to this user, else
    `FrameVitError`. Errors that do not come from the hub pass.
    """
    check_hub()
    if "HF_HUB_DISABLE_XET" not in os.environ:
        # Downloads from the hub's newer store are native code, which cannot be watched.
        import_module(f"{client.__name__}.constants").HF_HUB_DISABLE_XET = True  # type: ignore[attr-defined]
    watch = _watch_of(client)
    try:
        with watch.during():
            yield
    except Exception as error:
        said = _what_the_hub_said(error, what, watch)
        if said is None:
            raise
        raise said from None
    if watch.trouble and not _given_up:
        log.warning("the hub at %s %s; what is in the local cache is used", _url(), watch.trouble)


class _Watch:
    """Sees every request to the hub and every answer, and gives the hub up where nothing useful comes in time.

    A thread looks at the clock beside the requests, because a client that waits for the rest of a line, or sleeps as
    long as the hub told it to, looks at none.
    """

    def __init__(self, client: Any) -> None:
        self.trouble = ""
        """What the hub did last that was of no use, as the end of a sentence."""
        self.refusal: Any = None
        """The hub's last answer, if it was that it knows no such name or does not give it to this user."""
        self._offline = import_module(f"{client.__name__}.errors").OfflineModeIsEnabled
        self._lock = threading.RLock()
        self._limit = hub_timeout()
        self._waiting = threading.Event()
        self._since: float | None = None  # when the hub last gave something, while it is waited for
        self._answers: list[Any] = []  # those whose bodies are on their way
        self._received = 0
        self._failures = 0
        self._sockets: list[Any] = []
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while self._waiting.wait():
            time.sleep(0.1)
            with self._lock:
                if self._left() <= 0:
                    self._give_up()

    @contextmanager
    def during(self) -> Iterator[None]:
        """The time between two askings is not the hub's, but failures in a row are counted across them."""
        self.trouble, self.refusal = "", None
        try:
            yield
        finally:
            with self._lock:
                self._rest()

    def _rest(self) -> None:
        self._answers.clear()
        self._since, self._received = None, 0
        self._waiting.clear()

    def asked(self, request: Any) -> None:
        """Called by the client before each request."""
        with self._lock:
            seconds = max(self._left(), 0.1)
            if self._since is None:
                self._since = time.monotonic()
            self._waiting.set()
        limits = dict.fromkeys(("connect", "read", "write", "pool"), seconds)
        traced = functools.partial(self._traced, request.method)
        request.extensions = {**request.extensions, "timeout": limits, "trace": traced}

    def answered(self, response: Any) -> None:
        """Called by the client when the head of an answer is there. Raises where no further one is waited for."""
        status = response.status_code
        with self._lock:
            if status not in (408, 429) and status < 500:
                self.trouble, self._failures = "", 0
                named = response.headers.get("X-Error-Code") in ("RepoNotFound", "RevisionNotFound", "GatedRepo")
                self.refusal = response if named or status in (401, 403) else None
                self._answers.append(response)
                if not 300 <= status < 400:  # a circle of redirections gives nothing
                    self._since = time.monotonic()
                return
            self._failed(f"answers {status} {response.reason_phrase}".rstrip())
            pause = response.headers.get("Retry-After", "")
            if self._failures >= TRIES or (pause.isdigit() and float(pause) > self._left()):
                self._give_up()
                raise self._offline(f"the hub {self.trouble}")

    def _traced(self, method: str, event: str, info: dict[str, Any]) -> None:
        """Called by the connection for each of its steps. Raises where the client would not try again by itself."""
        with self._lock:
            if event.endswith(("connect_tcp.complete", "start_tls.complete")):
                self._sockets.append(info["return_value"].get_extra_info("socket"))
            error = info.get("exception")
            if not isinstance(error, Exception) or _given_up:  # a body that is not read to its end is none
                return
            late = self._left() < 0.2  # then the error is only that this was noticed
            if not late:
                self._failed(f"gives no whole answer ({str(error) or type(error).__name__})")
            if late or self._failures >= TRIES:
                self._give_up()
            if method == "HEAD" or _given_up:
                raise self._offline(f"the hub {self.trouble}") from None

    def _failed(self, trouble: str) -> None:
        self.trouble = trouble
        self._failures += 1

    def _left(self) -> float:
        """Seconds until the hub is given up; the whole limit where nothing is waited for."""
        received = sum(answer.num_bytes_downloaded for answer in self._answers)
        if received - self._received >= ENOUGH:
            self._since = time.monotonic()
            self._received = received
        if self._answers and not self.trouble and all(answer.is_closed for answer in self._answers):
            self._rest()
        return self._limit if self._since is None else self._limit - (time.monotonic() - self._since)

    def _give_up(self) -> None:
        import socket

        if not _given_up:
            self.trouble = self.trouble or f"gives nothing within {self._limit:g} s"
            _work_offline(self.trouble)
        self._rest()
        for each in self._sockets:
            with suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)  # wakes who reads; that of SSL would confuse the reader
        self._sockets.clear()


@functools.cache
def _watch_of(client: Any) -> _Watch:
    """The one watch of this process, made known to the hub's client."""
    watch = _Watch(client)
    plain = client.get_session()
    before = plain.event_hooks
    hooks = {"request": [*before["request"], watch.asked], "response": [*before["response"], watch.answered]}
    client.set_client_factory(lambda: type(plain)(event_hooks=hooks, follow_redirects=True, timeout=None))
    return watch


def _what_the_hub_said(error: BaseException, what: str, watch: _Watch) -> FrameVitError | None:
    """The hub's own reason for an error, however many libraries have wrapped it; None where the hub gave none."""
    if watch.refusal is not None and not _given_up:
        return _refused(watch.refusal, what)
    chain = [*_chain(error)]
    names = next(filter(None, (re.search(r"available configs: \[(.*)\]", str(each)) for each in chain)), None)
    if names:
        listed = names[1].replace("'", "")
        message = f"{what} has several configs on the hub, and none is named: {listed}"
        return UsageError(message, "Name one of them after a colon: owner/name:CONFIG")
    trouble = _given_up or watch.trouble
    if not trouble or not any(isinstance(each, OSError) for each in chain):
        return None
    return FrameVitError(
        f"the hub at {_url()} {trouble}, and {what} is not in the local cache",
        "Try again later, or name a local folder; FRAMEVIT_HUB_TIMEOUT sets how many seconds are waited",
    )


def _refused(response: Any, what: str) -> UsageError | None:
    code, said = response.headers.get("X-Error-Code", ""), response.headers.get("X-Error-Message", "")
    answer = f"the hub answers {response.status_code}" + (f": {said}" if said else "")
    log_in = "log in with `hf auth login`"
    if code == "GatedRepo":
        kind, _, name = what.rpartition(" ")
        page = f"{_url()}/{'datasets/' * (kind == 'data set')}{HubName.of(name).name}"
        return UsageError(f"{what} is gated ({answer})", f"Ask for access on {page}, then {log_in}")
    if code == "RevisionNotFound":
        return UsageError(f"{what}: there is no such revision ({answer})", "Check what stands behind the @")
    if code == "RepoNotFound" or response.status_code == 401:
        return UsageError(
            f"{what} is neither a local folder nor on the hub, or it is private ({answer})",
            f"Check the spelling; if it is private, {log_in}",
        )
    if response.status_code == 403:
        return UsageError(f"{what} is not given to you ({answer})", f"To use another account, {log_in}")
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that led to it, also where `from None` hides them."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
