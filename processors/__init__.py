"""Pipecat frame processors at the two ends of the pipeline, and the process-wide VAD engine."""

import os

# The Linux wheels of ONNX Runtime (1.29 and later) tell Microsoft about models and sessions unless
# this is there when `onnxruntime` is imported. Turn detection is said to send nothing anywhere.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
