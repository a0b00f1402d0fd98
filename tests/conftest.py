"""What all tests share: where the real models are, and a skip with a reason where they are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MODELS = Path(os.environ.get("TFLITEKIT_MODELS") or REPOSITORY.parent / "shared" / "models")
INVALID = "litert_invalid_model.tflite"  # the one file of the set that is no valid flatbuffer

MODEL_PATHS = sorted(MODELS.glob("*.tflite"))
VALID_PATHS = [path for path in MODEL_PATHS if path.name != INVALID]


def pytest_configure(config: pytest.Config) -> None:
    """The opt-in markers; `pyproject.toml` deselects both unless `-m` says otherwise."""
    config.addinivalue_line("markers", "slow: takes long or needs much disk; run with -m slow")
    config.addinivalue_line("markers", "benchmark: measures against other tools; run with -m benchmark")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize `model_path` over all real models that are valid; one skipped test where the folder is missing."""
    if "model_path" not in metafunc.fixturenames:
        return
    if VALID_PATHS:
        metafunc.parametrize("model_path", VALID_PATHS, ids=lambda path: path.stem)
    else:
        reason = f"no models in {MODELS}; set TFLITEKIT_MODELS to a folder of .tflite files"
        metafunc.parametrize("model_path", [pytest.param(None, marks=pytest.mark.skip(reason=reason))], ids=["no-models"])


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of real models."""
    if not MODEL_PATHS:
        pytest.skip(f"no models in {MODELS}; set TFLITEKIT_MODELS to a folder of .tflite files")
    return MODELS
