"""The Hugging Face hub from outside: how a name on it looks, and whether it answers, found out once and quickly.

The hub's own client retries a dead network for half a minute per request. One connection beforehand bounds that: where
nobody answers, the rest of the process works from the local cache, as with `HF_HUB_OFFLINE=1`, and a warning says so.
Only the standard library: the hub's client is imported by those who download.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from dataclasses import dataclass
from typing import NamedTuple

from frame_vit.system.progress import log

TIMEOUT_S = 5.0
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


def hub_state(timeout: float = TIMEOUT_S) -> HubState:
    """Opens one connection to the hub, and sends nothing. With HF_HUB_OFFLINE or a proxy no connection is opened."""
    import socket  # here: `predict` with a local model needs none of them
    import urllib.parse
    import urllib.request

    url = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return HubState(url, None, "HF_HUB_OFFLINE is set, so only the local cache is used")
    parts = urllib.parse.urlsplit(url)
    if parts.scheme in urllib.request.getproxies():
        return HubState(url, None, "a proxy leads to it, so no direct connection was tried")
    try:
        address = (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))
        socket.create_connection(address, timeout).close()
    except (OSError, ValueError) as error:  # ValueError: a port that is no number
        return HubState(url, False, str(error))
    return HubState(url, True, "it accepts connections")


@functools.cache
def check_hub() -> None:
    """Switches this process to the local cache where the hub does not answer within TIMEOUT_S."""
    state = hub_state()
    if state.answers is not False:
        return
    log.warning("the hub at %s does not answer (%s); using the local cache", state.url, state.reason)
    os.environ["HF_HUB_OFFLINE"] = "1"
    # The libraries read the variable when they are imported, which may have happened already.
    for module, name in (("huggingface_hub.constants", "HF_HUB_OFFLINE"), ("datasets.config", "HF_HUB_OFFLINE")):
        if module in sys.modules:
            setattr(sys.modules[module], name, True)
