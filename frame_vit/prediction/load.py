"""A model by name -> a predictor: which backend answers, and why. The fastest that is there, where nothing is asked.

With an exported file torch is not imported. What is fastest depends on how many pictures there are: importing torch
and transformers takes seconds, which a thousand pictures win back and one does not. `framevit benchmark` measures; what
it found on this machine is used, and without it a rule.
"""

from __future__ import annotations

from dataclasses import dataclass

from frame_vit.backends.backend import Backend
from frame_vit.backends.choose import BackendRequest, fastest_first, open_first_working, possible_backends, why_not
from frame_vit.errors import UsageError
from frame_vit.model.metadata import misses_embeddings
from frame_vit.prediction.predictor import Predictor
from frame_vit.runs.folder import ModelPlace, find_model
from frame_vit.system.progress import log


@dataclass(frozen=True)
class PredictorOptions:
    """What a predictor is made by; `auto` takes what is fastest here. `weights` as a backend prefers torch."""

    backend: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    tta: bool = True
    batch_size: int | None = None


def load_predictor(
    model: str | ModelPlace | None = None, options: PredictorOptions | None = None, count: int | None = None
) -> Predictor:
    """The predictor of a run folder, a model folder, an exported file, a hub name or (None) the latest run.

    `count` is how many pictures it will be given (None: many; ENDLESS); it decides where the backend is `auto`.
    Raises `UsageError` where there is no such model, or nothing here can compute its answers as asked.
    """
    place = model if isinstance(model, ModelPlace) else find_model(model)
    options = options or PredictorOptions()
    request = BackendRequest(place.name, options.backend, options.device, options.precision)
    choices = possible_backends(request)
    if options.backend == "weights":
        choices = [c for c in choices if c.backend == "torch"] or fastest_first(request, choices, count)
    elif options.backend == "auto":
        choices = fastest_first(request, choices, count)
    else:
        choices = [choice for choice in choices if choice.backend == options.backend]
    if not choices:
        raise UsageError(*why_not(request))
    backend = open_first_working(request, choices)
    log.info("model: %s (%s, %s, %s)", place.name, backend.name, backend.device, backend.precision)
    _say_what_differs(backend)
    return Predictor(backend, options.tta, options.batch_size, place)


def _say_what_differs(backend: Backend) -> None:
    point = backend.metadata.operating_point
    if misses_embeddings(backend.metadata):
        log.warning("embeddings.npy is missing: pictures are not compared with those of the training by embedding")
    if point is None:
        return
    before = point.basis.answered_by(backend.precision)
    if backend.precision == "int8" and before != (backend.name, backend.precision):
        way = f"framevit calibrate --backend {backend.name} --precision int8"
        log.warning("the thresholds were chosen on answers of %s in %s; `%s` chooses them for int8", *before, way)
