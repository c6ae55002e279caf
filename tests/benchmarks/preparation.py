"""How fast `framevit prepare` is beside plain decoding of the same files, and whether its memory stays flat.

    python tests/benchmarks/preparation.py [--large 1000] [--small 20000] [--repeats 3] [--prints 10000 100000]

rate    rows a second of the whole command (reading, decoding, checking, measuring, comparing, writing) on 1280 x 960
        JPEGs, start-up left out / decoding them to the model's 224 x 224 with Pillow on all cores; to reach: 0.8.
        Beside it, decoding them only.
again   the same command once more, when nothing has changed
memory  the most memory of its own (without the mapped cache) on `--small` pictures / on a tenth of them
prints  looking for near duplicates among drawn fingerprints in four views / comparing all with all in tiles (which is
        left out above 100,000, where it would take hours)

Medians of interleaved repeats, with the smallest and the largest. Not part of the tests.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from frame_vit.audit import near_pairs
from frame_vit.audit.near_duplicates import NearDuplicates, find_near_duplicates
from frame_vit.data import demo
from frame_vit.data.examples import Example
from frame_vit.images.measures import fingerprints_of
from frame_vit.labels import LabelSpace

CONFIG = """
labels: {names: [passed, Xplus, Xminus, Yplus, Yminus], ok: [passed],
  symmetries: {hflip: {Xplus: Xminus, Xminus: Xplus}, vflip: {Yplus: Yminus, Yminus: Yplus}}}
data: {train: pictures}
model: {init: scratch, scratch: {image_size: 224, patch_size: 16, hidden_size: 64, layers: 1, heads: 2}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", type=int, default=1000, help="pictures of 1280 x 960; 0: none")
    parser.add_argument("--small", type=int, default=20_000, help="pictures of 160 x 120; 0: none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prints", type=int, nargs="*", default=[10_000, 100_000], help="fingerprints to compare")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if given.large:
            rates(Path(place) / "large", given.large, given.repeats)
        if given.small:
            memory(Path(place) / "small", given.small)
    for count in given.prints:
        compare(count)


def rates(folder: Path, count: int, repeats: int) -> None:
    pictures = draw(folder, count, (1280, 960))
    plain, sized, cold, warm = [], [], [], []
    idle = draw(folder.with_name("few"), 100, (160, 120)).parent
    for _ in range(repeats):
        plain.append(count / timed(lambda: decode(pictures, None)))
        sized.append(count / timed(lambda: decode(pictures, (224, 224))))
        start_up = timed(lambda: prepare(idle, fresh=True))
        cold.append(count / (timed(lambda: prepare(folder, fresh=True)) - start_up))
        warm.append(count / (timed(lambda: prepare(folder)) - start_up))
    show("decoded to 224 x 224", sized, sized)
    show("decoded only", plain, sized)
    show("framevit prepare", cold, sized)
    show("framevit prepare again", warm, sized)


def memory(folder: Path, count: int) -> None:
    draw(folder, count, (160, 120))
    few = draw(folder.with_name("tenth"), count // 10, (160, 120)).parent
    small, large = prepare(few, fresh=True), prepare(folder, fresh=True)
    print(f"memory of {count:,} pictures {large:.0f} MB, of a tenth of them {small:.0f} MB: {large / small:.2f}")


def compare(count: int) -> None:
    """Seconds that the search takes; comparing all with all must find the same pairs, but for rounding at the limit."""
    prints, limit = drawn_prints(count), 0.04
    space = LabelSpace.build(demo.NAMES, ["passed"], demo.SYMMETRIES)
    labels = np.random.default_rng(1).integers(0, len(space), count).tolist()
    rows = [Example(str(row), label, (), 160, 120, "", bytes, str(row)) for row, label in enumerate(labels)]
    ranks = [0] * (count - count // 10) + [1] * (count // 10)

    def search() -> NearDuplicates:
        return find_near_duplicates(rows, ranks, prints, space.group(), limit)

    begin = time.perf_counter()
    found = search()
    quick, most = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    line = f"{count:,} fingerprints: {quick:.1f} s, {len(found.unfit)} rows with a near one of no fit, {most:.0f} MB"
    if count <= 100_000:
        are_masses, near_pairs._are_masses = near_pairs._are_masses, lambda *_: True
        begin = time.perf_counter()
        everything = search()
        line += f"; all with all {time.perf_counter() - begin:.1f} s"
        near_pairs._are_masses = are_masses
        for ours, theirs in ((found.across, everything.across), (found.unfit, everything.unfit)):
            differ = [(ours | theirs)[row].distance for row in ours.keys() ^ theirs.keys()]
            assert all(abs(distance - limit) < 1e-4 for distance in differ)
    print(line, flush=True)


def drawn_prints(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Fingerprints between those of two drawn frames of a class, with some noise; one in twenty is nearly another."""
    frames = [np.asarray(Image.fromarray(demo.draw(frame)).resize((64, 64))) for frame in demo.frames(2000, 5)]
    known, random = fingerprints_of(np.stack(frames)), np.random.default_rng(0)
    prints = np.empty((count, known.shape[1]), np.float32)
    for start in range(0, count, 50_000):
        part = prints[start : start + 50_000]
        one = random.integers(0, len(known), len(part))
        other = (one + 5 * random.integers(1, 400, len(part))) % len(known)  # the classes come in turn
        share = random.random((len(part), 1), np.float32)
        part[:] = share * known[one] + (1 - share) * known[other]
        copies = random.integers(0, len(part), (2, len(part) // 20))
        part[copies[0]] = part[copies[1]]
        part += 0.02 * random.standard_normal(part.shape, np.float32)
        part -= part.mean(axis=1, keepdims=True)
        part /= np.sqrt(np.square(part).mean(axis=1, keepdims=True))
    return prints


def draw(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Class folders of drawn frames at this size, with noise, so that they are as large as photographs."""
    frames = demo.frames(count, seed=count)
    noise = np.random.default_rng(0).normal(0, 4, (8, size[1], size[0], 1))

    def one(number: int) -> None:
        frame = frames[number]
        picture = Image.fromarray(demo.draw(frame)).resize(size, Image.Resampling.BICUBIC)
        if size[0] > demo.WIDTH:
            levels = np.asarray(picture, np.float32) + noise[number % 8]
            picture = Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        (folder / "pictures" / frame.label / f"{number:06}.jpg").write_bytes(buffer.getvalue())

    for label in demo.NAMES:
        (folder / "pictures" / label).mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, range(count)))
    return folder / "pictures"


def decode(pictures: Path, size: tuple[int, int] | None) -> None:
    def one(path: Path) -> None:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.load()
            if size:
                image.resize(size, Image.Resampling.BILINEAR)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, sorted(pictures.rglob("*.jpg"))))


def prepare(folder: Path, fresh: bool = False) -> float:
    """The command as a process of its own; returns the most memory that it had to itself, in MB."""
    if fresh:
        shutil.rmtree(folder / "cache", ignore_errors=True)
    command = [sys.executable, "-m", "frame_vit", "prepare", "-c", "config.yaml", "-o", "prepared", "--json"]
    environment = {**os.environ, "FRAMEVIT_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    most = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        most = max([most, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))])
        time.sleep(0.05)
    assert process.returncode in (0, 3), f"prepare ended with {process.returncode}"
    return most / 1024


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def show(what: str, rates: list[float], against: list[float]) -> None:
    ratios = sorted(rate / other for rate, other in zip(rates, against, strict=True))
    span = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    print(f"{what:<24} {statistics.median(rates):8,.0f} pictures/s   {span}", flush=True)


if __name__ == "__main__":
    main()
