"""The pool of decoder processes: the same pixels and reasons as here, and a process that is lost costs one picture."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from frame_vit.errors import RowError
from frame_vit.images import decoders as module
from frame_vit.images.decoders import Decoders, decode_here, decoding_threads
from frame_vit.images.preprocessing import Preprocessing, read_picture
from tests.images.test_decode import encoded, noise

SMALL = Preprocessing(20, 24)


@pytest.fixture(scope="module")
def pool() -> Iterator[Decoders]:
    decoders = Decoders(2)
    yield decoders
    decoders.close()


def processes(pool: Decoders) -> list[int]:
    return [process._running.pid for process in pool._processes if process._running]


def test_pixels_size_and_form_are_those_of_this_process(pool: Decoders, tmp_path: Path) -> None:
    data = encoded(noise(50, 40), "JPEG")
    (tmp_path / "a b\udcff.jpg").write_bytes(data)
    expected = read_picture(data, SMALL)
    for source in (data, tmp_path / "a b\udcff.jpg"):
        picture = pool.decode(source, SMALL)
        assert np.array_equal(picture.pixels, expected.pixels)
        assert picture.pixels.dtype == np.uint8
        assert (picture.width, picture.height, picture.stored) == (50, 40, expected.stored)


def test_a_relative_path_is_of_this_process(pool: Decoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.start(2)
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(encoded(noise(9, 9)))
    assert pool.decode(Path("a.png"), SMALL).width == 9


@pytest.mark.parametrize(
    "data", [b"", b"no picture", encoded(noise(40, 40), "JPEG")[:500]], ids=["empty", "text", "cut"]
)
def test_a_reason_and_its_code_are_those_of_this_process(pool: Decoders, data: bytes) -> None:
    with pytest.raises(RowError) as here:
        read_picture(data, SMALL)
    with pytest.raises(RowError) as there:
        pool.decode(data, SMALL)
    assert (there.value.message, there.value.code) == (here.value.message, here.value.code)


def test_a_process_that_dies_costs_the_picture_that_it_decodes(pool: Decoders) -> None:
    pool.start(2)
    data = encoded(noise(30, 30))
    before = processes(pool)
    said: list[str] = []

    def wait_for_ever() -> None:
        # A stopped process neither reads nor answers, as one that hangs in a decoder.
        try:
            pool.decode(data, SMALL)
        except RowError as error:
            said.append(error.message)

    for number in before:
        os.kill(number, signal.SIGSTOP)
    threads = [threading.Thread(target=wait_for_ever) for _ in before]
    for thread in threads:
        thread.start()
    for number in before:
        os.kill(number, signal.SIGKILL)
    for thread in threads:
        thread.join(60)
    # One that was killed before it got its picture is replaced in time; the others say what happened.
    assert set(said) <= {"the decoder was killed (SIGKILL), as happens when the machine has no memory left"}
    assert [pool.decode(data, SMALL).width for _ in before] == [30, 30]
    assert not set(processes(pool)) & set(before)


def test_a_decoder_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import time\nfrom PIL import Image\nold = Image.open\n"
        "def slow(fp, *a, **k):\n    if b'WEBP' in fp.getvalue()[:16]:\n        time.sleep(1000)\n"
        "    return old(fp, *a, **k)\nImage.open = slow\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(module, "LIMIT_S", 2.0)
    monkeypatch.setattr(module, "LIMIT_PER_MEGAPIXEL_S", 0.0)
    decoders = Decoders(1)
    try:
        with pytest.raises(RowError, match=r"^decoding this picture took longer than 2 s$"):
            decoders.decode(encoded(noise(9, 9), "WEBP"), SMALL)
        assert decoders.decode(encoded(noise(9, 9)), SMALL).width == 9
    finally:
        decoders.close()


def test_large_pictures_wait_for_their_share_and_keep_their_own_limit(
    pool: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGE", 0.001)
    pool._budget = 0.004  # megapixels: one of 60 x 60 at a time
    data = encoded(noise(60, 60), "JPEG")
    with ThreadPoolExecutor(2) as threads:
        pictures = list(threads.map(lambda _: pool.decode(data, SMALL), range(6)))
    assert {picture.width for picture in pictures} == {60}
    assert pool._budget == pytest.approx(0.004)
    pool._budget = module.BUDGET
    with pytest.raises(RowError, match=r"60 x 60 pixels, more than the 0\.002 megapixels"):
        pool.decode(data, Preprocessing(20, 24, max_megapixels=0.002))


def test_an_interrupt_ends_the_decoders_and_does_not_wait_for_them() -> None:
    decoders = Decoders(1)
    decoders.start(1)
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt), decoding_threads(decoders) as threads:
        os.kill(processes(decoders)[0], signal.SIGSTOP)
        threads.submit(decoders.decode, encoded(noise(9, 9)), SMALL)
        raise KeyboardInterrupt
    assert time.monotonic() - begin < module.LIMIT_S
    assert decoders.decode(encoded(noise(9, 9)), SMALL).width == 9
    decoders.close()


def test_the_processes_end_with_the_pool() -> None:
    decoders = Decoders(1)
    decoders.start(1)
    (number,) = processes(decoders)
    del decoders
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_a_single_picture_is_decoded_here_with_a_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = encoded(noise(30, 20))
    assert np.array_equal(decode_here(data, SMALL).pixels, read_picture(data, SMALL).pixels)
    with pytest.raises(RowError, match="no such file"):
        decode_here(tmp_path / "gone.png", SMALL)
    monkeypatch.setattr(module, "LIMIT_S", 0.2)
    monkeypatch.setattr(module, "LIMIT_PER_MEGAPIXEL_S", 0.0)
    monkeypatch.setattr(module, "read_picture", lambda *_: time.sleep(3))
    with pytest.raises(RowError, match="took longer than 0 s"):
        decode_here(data, SMALL)
