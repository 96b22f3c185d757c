"""Runs the Silero model that Pipecat ships; the recurrent states belong to the caller."""

from __future__ import annotations

from importlib import resources
from typing import Final, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from .turn_detector import WINDOW_SAMPLES

Float32 = NDArray[np.float32]

SAMPLE_RATE_HZ: Final = 16_000
CONTEXT_SAMPLES: Final = 64
"""Samples before the window that the model sees again."""
INPUT_SAMPLES: Final = CONTEXT_SAMPLES + WINDOW_SAMPLES
STATE_LAYERS: Final = 2
STATE_SIZE: Final = 128


class SileroModel:
    """The one ONNX session of the process: 10 MB and 60 ms to build, so built at start-up.

    A row of a batch gives bit for bit what it gives alone, so sessions can share a call.
    """

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        # The batches are too small to share out, and a second thread spins while it waits.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        file = resources.files("pipecat").joinpath("audio", "vad", "data", "silero_vad.onnx")
        self._session = onnxruntime.InferenceSession(
            file.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self._rate = np.array(SAMPLE_RATE_HZ, dtype=np.int64)

    def run(self, windows: Float32, state: Float32) -> tuple[Float32, Float32]:
        """Score one window of each of B streams.

        Args:
            windows: `[B, 64 + 512]`, each window behind the end of the one before it (zeros at
                the start of a stream), full scale being 1.
            state: `[2, B, 128]` as returned for the window before, or zeros.

        Returns:
            The probability of speech `[B]` and the new states `[2, B, 128]`.
        """
        outputs = self._session.run(None, {"input": windows, "state": state, "sr": self._rate})
        return cast(Float32, outputs[0])[:, 0], cast(Float32, outputs[1])
