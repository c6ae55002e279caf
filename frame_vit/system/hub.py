"""Whether the Hugging Face hub can be reached, asked once and quickly.

The hub's own client retries a dead network for half a minute per request. One look at the door first bounds that: where
nobody answers, the rest of the process works from the cache, as with `HF_HUB_OFFLINE=1`, and says so.
"""

from __future__ import annotations

import functools
import os
import socket
import sys
import urllib.parse
import urllib.request

from frame_vit.system.progress import log

TIMEOUT_S = 5.0


@functools.cache
def check_hub() -> None:
    """Switches this process to the local cache where the hub does not answer within TIMEOUT_S."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return
    url = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    if url.scheme in urllib.request.getproxies():
        return  # the proxy knows the way, a direct connection may be forbidden
    try:
        address = (url.hostname or "", url.port or (80 if url.scheme == "http" else 443))
        socket.create_connection(address, TIMEOUT_S).close()
    except OSError as error:
        log.warning("the hub at %s does not answer (%s); using what is in the cache", url.geturl(), error)
        os.environ["HF_HUB_OFFLINE"] = "1"
        # The libraries read the variable when they are imported, which may have happened already.
        for module, name in (("huggingface_hub.constants", "HF_HUB_OFFLINE"), ("datasets.config", "HF_HUB_OFFLINE")):
            if module in sys.modules:
                setattr(sys.modules[module], name, True)
