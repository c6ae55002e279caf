"""The long forms of the fault tests: ten thousand random command lines, or as many as are asked for, and ten times as
many damaged pictures.

    python -m tests.faults.long [COUNT [SEED]]

What ends oddly is printed, and the exit code is then 1.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

from tests.conftest import TINY
from tests.faults.commands import odd_ones, prepare
from tests.faults.test_mutations import is_refused, originals
from tests.processes import Nursery, run_framevit


def main(count: int = 10_000, seed: int = 1) -> int:
    """The number of commands that ended oddly, and of pictures."""
    place = Path(tempfile.mkdtemp())
    home, work = place / "home", place / "work"
    home.mkdir()
    (home / "tiny.yaml").write_text(TINY)
    for words in (["train", "-c", "tiny.yaml"], ["export"]):
        done = run_framevit(home, *words)
        assert done.returncode == 0, done.stderr
    odd, begin = 0, time.monotonic()
    for round_ in range(0, count, 1000):  # a fresh folder and process now and then: commands change and fill them
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        prepare(work, home)
        with Nursery(work) as nursery:
            for found in odd_ones(nursery, seed + round_, min(1000, count - round_)):
                if found is not None:
                    odd += 1
                    print(f"framevit {found.words}: {found.code}\n{found.said[-2000:]}\n", flush=True)
        print(f"{min(round_ + 1000, count)} of {count}, {odd} odd, {time.monotonic() - begin:.0f} s", flush=True)
    shutil.rmtree(place)
    return odd + odd_pictures(10 * count, seed)


def odd_pictures(count: int, seed: int) -> int:
    """The number of damaged pictures that were neither a picture nor a row with an error."""
    warnings.simplefilter("ignore")
    files, odd = originals(), 0
    for number in range(seed * 10**9, seed * 10**9 + count):
        try:
            is_refused(number, files)
        except Exception as error:  # whatever it is, it is what is looked for
            odd += 1
            print(f"mutation {number}: {error!r}", flush=True)
    print(f"{count} damaged pictures, {odd} odd", flush=True)
    return odd


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])) > 0)
