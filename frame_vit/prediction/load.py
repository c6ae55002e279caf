"""A model by name -> a `Predictor`: finds the model, chooses a backend for it, opens it, and says which one answers.

With an exported file torch is not imported.
"""

from __future__ import annotations

from dataclasses import dataclass

from frame_vit.backends.backend import INT8, Backend
from frame_vit.backends.choose import ENDLESS, BackendRequest, open_first_working, ordered_choices
from frame_vit.images.decoders import Decoders
from frame_vit.model.metadata import misses_embeddings
from frame_vit.prediction.predictor import Predictor
from frame_vit.runs.folder import ModelPlace, find_model
from frame_vit.system.machine import cores
from frame_vit.system.progress import log


@dataclass(frozen=True)
class PredictorOptions:
    """How a model's answers are computed. `auto` takes what is fastest here; the backend `weights` prefers torch.

    `tta` is test-time augmentation, the average over the declared symmetries. `batch_size` is how many pictures go
    through the model at once (None: what is fastest for the backend).
    """

    backend: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    tta: bool = True
    batch_size: int | None = None


def load_predictor(
    model: str | ModelPlace | None = None,
    options: PredictorOptions | None = None,
    count: int | None = None,
    isolated: bool = True,
    one_by_one: bool | None = None,
) -> Predictor:
    """The predictor of a run folder, a model folder, an exported file, a hub name or (None) the latest run.

    `count` is the number of pictures to come (None: many; `ENDLESS`: one by one); it matters for the backend `auto`.
    With `one_by_one`, all cores share a picture, so that it is answered soon; else each core computes its own, which
    answers more pictures in the same time (None: if there are pictures for all cores, by the count and the batch size).
    With `isolated`, pictures are decoded in processes of their own, which takes longer for a single one.
    Raises `UsageError` if there is no such model, or if no backend on this machine can answer as requested.
    """
    place = model if isinstance(model, ModelPlace) else find_model(model)
    decoders = Decoders() if isolated else None
    if decoders is not None and count is not None:  # they start while the model is loaded
        decoders.start(1 if count == ENDLESS else count)
    options = options or PredictorOptions()
    together = min(each for each in (count, options.batch_size, cores()) if each is not None)
    alone = together < cores() if one_by_one is None else one_by_one
    request = BackendRequest(place.name, options.backend, options.device, options.precision, alone)
    backend = open_first_working(request, ordered_choices(request, count))
    log.info("model: %s (%s, %s, %s)", place.name, backend.name, backend.device, backend.precision)
    _warn_of_differences(backend)
    return Predictor(backend, options.tta, options.batch_size, place, decoders)


def _warn_of_differences(backend: Backend) -> None:
    """Says where the answers may differ from those that the thresholds were chosen on."""
    point = backend.metadata.operating_point
    if misses_embeddings(backend.metadata):
        log.warning("embeddings.npy is missing, so pictures are not compared with the training pictures by embedding")
    if point is None:
        return
    chosen_on = point.basis.answered_by(backend.precision)
    if backend.precision == INT8 and chosen_on != (backend.name, backend.precision):
        command = f"framevit calibrate --backend {backend.name} --precision int8"
        log.warning(
            "the thresholds were chosen on answers of %s in %s; `%s` chooses them for int8", *chosen_on, command
        )
