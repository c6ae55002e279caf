"""A trained model as one ONNX file for a PC without torch, proven against torch on real pictures before it is kept.

torch's own exporter draws the graph; settings, embeddings and what the numbers are go into the file's metadata. int8 is
ONNX Runtime's quantisation: static, calibrated on training pictures, where that answers alike, else dynamic.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from frame_vit import __version__
from frame_vit.backends import INPUT, METADATA, OUTPUTS, OnnxRuntime
from frame_vit.data.examples import Split
from frame_vit.decision import ACCEPT
from frame_vit.errors import ModelError, UsageError
from frame_vit.exported import FILES, PROOF, machine, read_facts, weights_sample
from frame_vit.images import UInt8, laid, normalise
from frame_vit.model import Classifier
from frame_vit.predictor import Answers, Predictor
from frame_vit.progress import Tick, log, silent
from frame_vit.runs import write_json
from frame_vit.schema import Export
from frame_vit.settings import Settings, write_settings
from frame_vit.torch_backend import Given, Torch
from frame_vit.unlike import packed, some

MOST_BYTES = 1_900_000_000
"""A protobuf file cannot be larger than 2 GB, and weights in files of their own are not written."""
CALIBRATED_ON = 32
"""Training pictures that static quantisation takes its ranges from."""
BATCHES = (1, 8)
NEEDED = ("onnx", "onnxscript", "onnxruntime")


def export(
    classifier: Classifier,
    folder: Path,
    test: Split,
    limits: Export,
    int8: bool = False,
    train: Split | None = None,
    tick: Tick = silent,
) -> dict[str, Any]:
    """Writes model.onnx (and model-int8.onnx) into the folder, and returns what export.json says of them.

    Raises `ModelError` where the exported model answers otherwise than torch; then nothing has changed. An int8 model
    that does not agree, or is slower here, is not kept, and the facts say so.
    """
    check_installed()
    folder.mkdir(parents=True, exist_ok=True)
    proof = _Proof(classifier, test, limits, tick)
    aside = folder / (FILES["fp32"] + ".part")
    quantised = None
    try:
        opset = write_onnx(classifier, aside, tick)
        found = proof.of(aside)
        if found["max_logit_difference"] > limits.tolerance:
            raise ModelError(
                "the exported model answers otherwise than torch: a logit differs by "
                f"{found['max_logit_difference']:.2g} in {found['worst']}; nothing was written",
                f"export.tolerance is {limits.tolerance:g}; if you can live with more, --set export.tolerance=...",
            )
        if int8:
            quantised = _quantised(classifier.settings, aside, train, proof, limits, tick)
        aside.replace(folder / FILES["fp32"])
    finally:
        aside.unlink(missing_ok=True)
    sample = weights_sample(folder)
    files = {FILES["fp32"]: _record(folder / FILES["fp32"], sample, found | {"opset": opset})}
    facts = {"framevit": __version__, "machine": machine(), "pictures": len(proof.pixels), "data": proof.source}
    if quantised is not None:
        facts["int8"] = quantised.said
        if quantised.file is not None:
            quantised.file.replace(folder / FILES["int8"])
            files[FILES["int8"]] = _record(folder / FILES["int8"], sample, quantised.found)
    _keep_or_remove(folder, files, sample)
    write_settings(classifier.settings, folder)
    write_json(folder / PROOF, facts | {"files": files})
    return facts | {"files": files}


def check_installed() -> None:
    """Raises `UsageError` where the extra is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"export needs {', '.join(missing)}", "pip install 'framevit[export]'")


def write_onnx(classifier: Classifier, path: Path, tick: Tick = silent) -> int:
    """The graph with its metadata as one file; the opset it is written in."""
    size = sum(p.numel() * p.element_size() for p in classifier.module.parameters())
    if size > MOST_BYTES:
        raise ModelError(
            f"the weights have {size / 1e9:.1f} GB, and a single ONNX file cannot have more than 2 GB",
            "Models up to ViT-L (1.2 GB) can be exported",
        )
    pixels = classifier.settings.pixels
    graph = _Graph(classifier.module).eval()
    example = torch.zeros(2, 3, pixels.height, pixels.width)
    names = list(OUTPUTS[: 2 if graph.embeds(example) else 1])
    tick("exporting", 0, 0, "drawing the graph")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=names,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(_metadata(classifier.settings, "fp32"))
    program.save(path, external_data=False)
    return int(program.model.opset_imports[""])


class _Graph(torch.nn.Module):
    """What is exported: logits and, where the head is given one vector a picture, that."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        self.given = Given(module)

    def embeds(self, example: torch.Tensor) -> bool:
        with torch.inference_mode():
            return len(self(example)) > 1

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = self.module(pixel_values=pixel_values).logits
        embedding, self.given.last = self.given.last, None
        return (logits,) if embedding is None else (logits, embedding)


def _metadata(settings: Settings, numbers: str) -> dict[str, str]:
    embeddings = settings.usual.embeddings if settings.usual else None
    texts = json.dumps(settings.to_json()), packed(embeddings) if embeddings is not None else "", numbers
    return dict(zip(METADATA, texts, strict=True))


class _Proof:
    """What torch answers in fp32 for pictures of the test split, and how others' answers differ from that."""

    def __init__(self, classifier: Classifier, test: Split, limits: Export, tick: Tick) -> None:
        rows = some(len(test), limits.pictures)
        self.pixels: UInt8 = np.asarray(test.pixels[rows])
        self.keys = [test.examples[row].key for row in rows]
        self.source = test.name
        self.settings = classifier.settings
        self.tick = tick
        self.torch = self._asked(Predictor(Torch(classifier, "cpu", "fp32"), batch_size=8), "torch")

    def _asked(self, predictor: Predictor, stage: str) -> Answers:
        parts = []
        for start in range(0, len(self.pixels), predictor.batch_size):
            parts.append(predictor.ask(self.pixels[start : start + predictor.batch_size]))
            done = min(start + predictor.batch_size, len(self.pixels))
            self.tick(f"asking {stage}", done, len(self.pixels), "")
        return Answers(np.concatenate([part.logits for part in parts]), None)

    def of(self, path: Path, name: str = "the exported model") -> dict[str, Any]:
        """How the answers of an exported file differ, at batch 1 and 8: the largest difference and what it changes."""
        found: dict[str, Any] = {"batches": {}}
        for batch in BATCHES:
            predictor = Predictor(OnnxRuntime(path, self.settings, "auto"), batch_size=batch)
            logits = self._asked(predictor, f"{name}, {batch} at once").logits
            found["batches"][str(batch)] = difference(self.torch.logits, logits, self.keys, predictor)
        worst = max(found["batches"].values(), key=lambda of: of["max_logit_difference"])
        changed = ("changed_decisions", "newly_accepted", "changed_classes")
        most = {key: max(of[key] for of in found["batches"].values()) for key in changed}
        return found | {"max_logit_difference": worst["max_logit_difference"], "worst": worst["worst"]} | most


def difference(
    before: NDArray[np.float32], after: NDArray[np.float32], keys: Sequence[str], predictor: Predictor
) -> dict[str, Any]:
    """How logits (N, views, classes) differ: the largest difference, in which picture, and what it changes."""
    by_picture = np.abs(before - after).max(axis=(1, 2))
    worst = int(by_picture.argmax())
    means = before.mean(axis=1), after.mean(axis=1)
    plain: list[dict[str, str]] = [{} for _ in keys]
    was, judged = (predictor.judged(mean, plain) for mean in means)
    changed = accepted = 0
    if was is not None and judged is not None:
        changed = int((was != judged).sum())
        accepted = int(((judged == ACCEPT) & (was != ACCEPT)).sum())
    return {
        "max_logit_difference": float(by_picture[worst]),
        "worst": keys[worst],
        "changed_decisions": changed,
        "newly_accepted": accepted,
        "changed_classes": int((means[0].argmax(axis=1) != means[1].argmax(axis=1)).sum()),
    }


@dataclass(frozen=True)
class _Quantised:
    """The int8 model that is kept (None: none), its proof, and what was found of every way that was tried."""

    file: Path | None
    found: dict[str, Any]
    said: list[dict[str, Any]]


def _quantised(
    settings: Settings, fp32: Path, train: Split | None, proof: _Proof, limits: Export, tick: Tick
) -> _Quantised:
    """Static, then dynamic: the first that agrees and is not slower than fp32 here."""
    ways: dict[str, Callable[[Path], None]] = {}
    if train is not None:
        calibrating = np.asarray(train.pixels[some(len(train), CALIBRATED_ON)])
        ways["static"] = lambda path: _static(fp32, path, calibrating, settings)
    ways["dynamic"] = lambda path: _dynamic(fp32, path)
    said = []
    for way, quantise in ways.items():
        path = fp32.with_name(f"{FILES['int8']}.{way}.part")
        tick("exporting", 0, 0, f"int8, {way}")
        with _quiet():
            quantise(path)
        _mark(path, settings)
        found = proof.of(path, f"int8, {way}")
        share = found["changed_decisions"] / len(proof.pixels)
        speed = _compared(fp32, path, settings, proof.pixels)
        agrees, fast = share <= limits.int8_changed, speed >= 1
        told = {"way": way, "agrees": agrees, "changed_share": share, "limit": limits.int8_changed, "speed_up": speed}
        said.append(told | {"kept": agrees and fast} | {k: v for k, v in found.items() if k != "batches"})
        if agrees and fast:
            return _Quantised(path, found | {"way": way, "speed_up": speed}, said)
        path.unlink()
    return _Quantised(None, {}, said)


def _dynamic(fp32: Path, path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Weights of 7 bits: with 8, processors without VNNI overflow in between, silently.
    quantize_dynamic(fp32, path, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)


def _static(fp32: Path, path: Path, pixels: UInt8, settings: Settings) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            views = [view for view, _ in settings.labels.group()]
            self.left = iter([laid(pixels[i : i + 1], views[i % len(views)]) for i in range(len(pixels))])

        def get_next(self) -> dict[str, Any] | None:
            picture = next(self.left, None)
            return None if picture is None else {INPUT: normalise(picture, settings.pixels)}

    quantize_static(
        fp32,
        path,
        Pictures(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Gemm", "Conv"],
    )


def _mark(path: Path, settings: Settings) -> None:
    """Writes into a quantised file what it is; whatever metadata it took over goes."""
    import onnx

    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, _metadata(settings, "int8"))
    onnx.save(model, path)


def _compared(fp32: Path, int8: Path, settings: Settings, pixels: UInt8, repeats: int = 5) -> float:
    """How many times as fast int8 is, medians of turns, at the batch of a folder."""
    batch = pixels[: BATCHES[-1]]
    backends = [OnnxRuntime(path, settings, "auto") for path in (fp32, int8)]
    times: list[list[float]] = [[], []]
    for turn in range(repeats + 1):
        for backend, of in zip(backends, times, strict=True):
            start = perf_counter()
            backend.run(batch)
            if turn:  # the first warms up
                of.append(perf_counter() - start)
    return float(np.median(times[0]) / np.median(times[1]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice, through the root logger, to use another tool first."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _record(path: Path, sample: str | None, found: dict[str, Any]) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "weights": sample} | found


def _keep_or_remove(folder: Path, files: dict[str, Any], sample: str | None) -> None:
    """An int8 model of an earlier export stays if it is of the same weights; of others it is removed, and said."""
    name = FILES["int8"]
    if name in files or not (folder / name).is_file():
        return
    before = read_facts(folder / PROOF).get("files", {}).get(name)
    if before is not None and before.get("weights") == sample:
        files[name] = before
    else:
        (folder / name).unlink()
        log.warning("%s was of other weights and is removed", folder / name)
