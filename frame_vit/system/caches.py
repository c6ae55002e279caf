"""Pictures decoded and resized once, for every later run: uint8 arrays on disk, memory-mapped. Never imports torch.

A raw split at given pixel settings has a folder of its own, in it one folder for each state of its files:

    pixels/<source, split, pixel settings, decoding code>/<stamps of all rows>/pixels.u8, rows.json

It is built beside and renamed, so it is whole or absent, by one process at a time; every row has a checksum that is
looked at before use. Rows whose stamp has not changed are taken over from the state before. What lies here can be
deleted at any time.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(given: str | None) -> Path:
    """Where decoded pictures lie: as given, else $FRAMEVIT_CACHE, else the user's cache folder."""
    named = given or os.environ.get("FRAMEVIT_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "framevit"
