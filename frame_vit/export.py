"""A trained model as one ONNX file for a PC without torch, proven against torch on real pictures before it is kept.

torch's own exporter draws the graph; settings, embeddings and what the numbers are go into the file's metadata. int8 is
ONNX Runtime's quantisation: static, calibrated on training pictures, where that answers alike, else dynamic.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from frame_vit import __version__
from frame_vit.backends import INPUT, METADATA, OUTPUTS, Backend, OnnxRuntime, OpenVino
from frame_vit.data.cache import Rows
from frame_vit.data.examples import Split
from frame_vit.decision import ACCEPT
from frame_vit.errors import ModelError, UsageError
from frame_vit.exported import FILES, PROOF, machine, read_facts, weights_sample
from frame_vit.images import Float32
from frame_vit.model import Classifier
from frame_vit.predictor import Answers, Predictor
from frame_vit.progress import Tick, log, silent
from frame_vit.quantise import dynamic, mark, speed_up, static
from frame_vit.runs import write_json
from frame_vit.schema import Export
from frame_vit.settings import Settings, write_settings
from frame_vit.torch_backend import Given, Torch, written_out
from frame_vit.unlike import packed, some

MOST_BYTES = 1_900_000_000
"""A protobuf file cannot be larger than 2 GB, and weights in files of their own are not written."""
CALIBRATED_ON = 32
"""Training pictures that static quantisation takes its ranges from."""
BATCHES = (1, 8)
NEEDED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Request:
    """What to export and by what to prove it: the model, the folder of its weights (None: on the hub), where to write.

    `test` is what is compared on, `train` (None: not at hand) what static quantisation is calibrated on.
    """

    classifier: Classifier
    source: Path | None
    folder: Path
    test: Split
    limits: Export
    int8: bool = False
    train: Split | None = None


def export(asked: Request, tick: Tick = silent) -> dict[str, Any]:
    """Writes model.onnx (and model-int8.onnx) into the folder, and returns what export.json says of them.

    Raises `ModelError` where the exported model answers otherwise than torch; then nothing has changed. An int8 model
    that does not agree, or is slower here, is not kept, and the facts say so.
    """
    _check_place(asked)
    folder, classifier = asked.folder, asked.classifier
    folder.mkdir(parents=True, exist_ok=True)
    proof = _Proof(asked, tick)
    aside = folder / (FILES["fp32"] + ".part")
    try:
        opset = write_onnx(classifier, aside, tick)
        found = proof.of(aside, "fp32") | {"opset": opset}
        if found["max_logit_difference"] > asked.limits.tolerance:
            raise ModelError(
                "the exported model answers otherwise than torch: a logit differs by "
                f"{found['max_logit_difference']:.2g} in {found['worst']}; nothing was written",
                f"The limit is export.tolerance, {asked.limits.tolerance:g}; --set export.tolerance=... changes it",
            )
        found["openvino"] = proof.openvino(aside)
        tried, kept = _quantised(asked, aside, proof, tick) if asked.int8 else ([], {})
        aside.replace(folder / FILES["fp32"])
    finally:
        aside.unlink(missing_ok=True)
    sample = weights_sample(asked.source) if asked.source else None
    told = {"machine": machine(), "pictures": len(proof.pixels), "data": proof.source, "weights": sample}
    files = {FILES["fp32"]: told | {"bytes": (folder / FILES["fp32"]).stat().st_size} | found}
    if kept:
        files[FILES["int8"]] = told | {"bytes": (folder / FILES["int8"]).stat().st_size} | kept
    _keep_or_remove(asked, files, sample)
    write_settings(classifier.settings, folder)
    facts = {"framevit": __version__, "files": files, **({"int8": tried} if asked.int8 else {})}
    write_json(folder / PROOF, facts)
    return facts


def _check_place(asked: Request) -> None:
    """Raises `UsageError` where the folder holds the weights of another model."""
    here = asked.source is not None and asked.folder.resolve() == asked.source.resolve()
    if not here and any(asked.folder.glob("*.safetensors")):
        raise UsageError(
            f"{asked.folder} holds the weights of another model", "Name a folder of its own with -o/--output"
        )


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
    log.info("drawing the graph")
    # Written out, attention has no tests for rows that are masked whole: a tenth of the time in int8.
    with warnings.catch_warnings(), written_out(classifier.module):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
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
        except torch.onnx.OnnxExporterError as error:
            what = " ".join(str(error).split())[:300]
            raise ModelError(f"{type(classifier.module).__name__} cannot be exported by torch: {what}") from None
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

    def __init__(self, asked: Request, tick: Tick) -> None:
        rows = some(len(asked.test), asked.limits.pictures)
        self.pixels = Rows.of(np.asarray(asked.test.pixels[rows]))
        self.keys = [asked.test.examples[row].key for row in rows]
        self.source = asked.test.name
        self.settings, self.limits = asked.classifier.settings, asked.limits
        self.tick = tick
        peer = Predictor(Torch(asked.classifier, "cpu", "fp32"), batch_size=8)
        self.torch = peer.split_answers(self.pixels, tick, "asking torch")

    def of(self, path: Path, name: str) -> dict[str, Any]:
        """How the answers of an exported file differ, at batch 1 and 8: the largest difference and what it changes."""
        found = {
            str(batch): self._differs(OnnxRuntime(path, self.settings), f"{name}, {batch} at once", batch)
            for batch in BATCHES
        }
        worst = max(found.values(), key=lambda of: of["max_logit_difference"])
        changed = ("changed_decisions", "newly_accepted", "changed_classes", "max_distance_difference")
        most = {key: max(of[key] for of in found.values()) for key in changed}
        return {"batches": found, "max_logit_difference": worst["max_logit_difference"], "worst": worst["worst"]} | most

    def openvino(self, path: Path) -> dict[str, Any]:
        """The same in OpenVINO, in the precision that it takes by itself; empty where it is not installed."""
        if importlib.util.find_spec("openvino") is None:
            return {}
        backend = OpenVino(path, self.settings)
        found = self._differs(backend, f"OpenVINO in {backend.precision}", BATCHES[-1])
        return {"precision": backend.precision, "agrees": self.share(found) <= self.limits.int8_changed} | found

    def share(self, found: dict[str, Any]) -> float:
        """Of how many pictures the decision changes, or the class, as a share."""
        return float(max(found["changed_decisions"], found["changed_classes"]) / len(self.pixels))

    def _differs(self, backend: Backend, stage: str, batch: int) -> dict[str, Any]:
        predictor = Predictor(backend, batch_size=batch)
        found = predictor.split_answers(self.pixels, self.tick, f"asking {stage}")
        return difference(predictor, self.torch, found, self.keys)


def difference(predictor: Predictor, before: Answers, after: Answers, keys: Sequence[str]) -> dict[str, Any]:
    """How two sets of answers differ: the largest difference of a logit, in which picture, and what it changes.

    Decisions are compared with the flag of the embedding's distance, the only one that answers can change.
    """
    by_picture = np.abs(before.logits - after.logits).max(axis=(1, 2))
    worst = int(by_picture.argmax())
    means = [answers.logits.mean(axis=1) for answers in (before, after)]
    far = [predictor.distances(answers) for answers in (before, after)]
    was, judged = (predictor.judged(m, _too_far(d, predictor)) for m, d in zip(means, far, strict=True))
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
        "max_distance_difference": _largest(*far),
    }


def _largest(before: Float32 | None, after: Float32 | None) -> float:
    return 0.0 if before is None or after is None else float(np.abs(before - after).max())


def _too_far(distance: Float32 | None, predictor: Predictor) -> list[dict[str, str]]:
    count = 0 if distance is None else len(distance)
    if distance is None or predictor.usual is None or "distance" not in predictor.usual.ranges:
        return [{}] * count
    limit = predictor.usual.ranges["distance"][1]
    return [{"distance": "far"} if value > limit else {} for value in distance]


def _quantised(asked: Request, fp32: Path, proof: _Proof, tick: Tick) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Static, then dynamic: the first that agrees and is not slower than fp32 here becomes model-int8.onnx.

    What was found of every way that was tried, and the proof of the one that is kept (empty: none).
    """
    settings, limits = asked.classifier.settings, asked.limits
    ways: dict[str, Callable[[Path], None]] = {"dynamic": lambda path: dynamic(fp32, path)}
    if asked.train is not None:
        calibrating = np.asarray(asked.train.pixels[some(len(asked.train), CALIBRATED_ON)])
        ways = {"static": lambda path: static(fp32, path, calibrating, settings)} | ways
    tried: list[dict[str, Any]] = []
    path = fp32.with_name(f"{FILES['int8']}.part")
    for way, quantise in ways.items():
        log.info("int8, %s", way)
        try:
            quantise(path)
            mark(path, _metadata(settings, "int8"))
            found = proof.of(path, f"int8, {way}")
            share, speed = proof.share(found), speed_up(fp32, path, proof.pixels[: BATCHES[-1]])
            keep = share <= limits.int8_changed and speed >= 1
            told = {"way": way, "changed_share": share, "limit": limits.int8_changed, "speed_up": speed}
            told |= {"agrees": share <= limits.int8_changed, "kept": keep}
            tried.append(told | {key: value for key, value in found.items() if key != "batches"})
            if keep:
                path.replace(asked.folder / FILES["int8"])
                return tried, found | {"way": way, "speed_up": speed}
        except ModelError as error:  # answers that are no numbers, or a file that does not run
            tried.append({"way": way, "kept": False, "error": error.message})
        finally:
            path.unlink(missing_ok=True)
    return tried, {}


def _keep_or_remove(asked: Request, files: dict[str, Any], sample: str | None) -> None:
    """An int8 model of an earlier export stays if it is of the same weights and none was asked for now."""
    name = FILES["int8"]
    path = asked.folder / name
    if name in files or not path.is_file():
        return
    before = read_facts(asked.folder / PROOF).get("files", {}).get(name)
    if before is not None and before.get("weights") == sample and not asked.int8:
        files[name] = before
        log.info("%s, of an earlier export of the same weights, is kept", path)
    else:
        path.unlink()
        log.warning("%s, of an earlier export, is removed", path)
