"""Where ONNX can be exported: a mark for tests that do it."""

import importlib.util

import pytest
import torch

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
needs_onnx = pytest.mark.skipif(
    torch.__version__.startswith("2.6.") or not all(map(importlib.util.find_spec, _PACKAGES)),
    reason="the extra 'onnx' is not installed, or torch is 2.6, whose exporter fails",
)
