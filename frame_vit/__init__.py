"""framevit: fine-tune a Vision Transformer on frames whose classes are directions.

The functions of the commands can be imported from here: `from frame_vit import train, evaluate, predict`. `framevit
help python` has an example of each. They are loaded when they are first used, so `import frame_vit` itself is quick.
"""

import os
import sys
from typing import TYPE_CHECKING

__version__ = "0.6.0"

# Nothing leaves the machine unless asked. The libraries read these variables when they are imported, and child
# processes inherit them, so they are set before anything else: ONNX Runtime's own function, called later, is too late.
for _switch in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ.setdefault(_switch, "1")
# OpenVINO has no such variable, and reports its own import. Where this package cannot be imported it reports nothing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

if TYPE_CHECKING:
    from frame_vit.api import (
        benchmark,
        calibrate,
        compare,
        draw_maps,
        evaluate,
        explain,
        export_model,
        load_config,
        load_predictor,
        predict,
        prepare,
        resume,
        train,
    )
    from frame_vit.config.schema import Config
    from frame_vit.errors import ConfigError, DataError, FrameVitError, ModelError, UsageError
    from frame_vit.prediction.predictor import Prediction, Predictor
    from frame_vit.runs.data import DataRequest

__all__ = [
    "Config",
    "ConfigError",
    "DataError",
    "DataRequest",
    "FrameVitError",
    "ModelError",
    "Prediction",
    "Predictor",
    "UsageError",
    "benchmark",
    "calibrate",
    "compare",
    "draw_maps",
    "evaluate",
    "explain",
    "export_model",
    "load_config",
    "load_predictor",
    "predict",
    "prepare",
    "resume",
    "train",
]

_ELSEWHERE = {
    "Config": "config.schema",
    "ConfigError": "errors",
    "DataError": "errors",
    "DataRequest": "runs.data",
    "FrameVitError": "errors",
    "ModelError": "errors",
    "Prediction": "prediction.predictor",
    "Predictor": "prediction.predictor",
    "UsageError": "errors",
}
"""Where the types are; the functions are all in `api`."""

if not TYPE_CHECKING:  # a type checker would take this for a promise that every name exists

    def __getattr__(name: str) -> object:
        """Loads a public name when it is first used (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'api')}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
