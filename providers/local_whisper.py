"""Whisper on this machine: one faster-whisper model for the whole process, off the event loop."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from audio_utils import pcm16_to_float32
from protocol import ConfigError, ErrorCategory, ProviderError, Stage

from .recognition import Recognition, along
from .segment_stt import SegmentSTTService, Utterance

logger = logging.getLogger(__name__)

Device = Literal["auto", "cpu", "cuda"]

_NEEDED_FILES: Final = ("model.bin", "config.json", "tokenizer.json")
_CUDA_TYPE: Final = "float16"
_CPU_TYPE: Final = "int8"
_INSTALL: Final = "pip install faster-whisper"


class LocalWhisperProvider:
    """Speech to text that never leaves the machine.

    Args:
        model: A size (`base`), a repository of the Hugging Face hub, or the folder of a model
            converted for CTranslate2.
        language: Spoken where the client names none (BCP-47); None lets the model find out.
        device: `auto` takes a GPU when there is one.
        compute_type: As CTranslate2 names it; `auto` is int8 on a CPU, float16 on a GPU.
        allow_download: Whether a model that is not on this machine may be fetched.
        workers: Utterances decoded at a time.
        threads: CPU threads for each of them; 0 is what CTranslate2 takes by itself.
        timeout_s: How long an answer may take, on top of the length of the speech.

    Raises:
        ConfigError: it cannot work, and what to do about that.
    """

    name: ClassVar[str] = "local_whisper"

    def __init__(
        self,
        model: str,
        *,
        language: str | None = None,
        device: Device = "auto",
        compute_type: str = "auto",
        allow_download: bool = False,
        workers: int = 1,
        threads: int = 0,
        timeout_s: float = 10.0,
    ) -> None:
        self.languages: frozenset[str] | None = frozenset({"en"}) if model.endswith(".en") else None
        self._model_name = _preflight(model)
        self._language = language
        self._device = device
        self._compute_type = compute_type
        self._allow_download = allow_download
        self._workers = workers
        self._cpu_threads = threads
        self._timeout_s = timeout_s
        self._model: Any = None
        self._where = ""
        self._threads: ThreadPoolExecutor | None = None

    def describe(self) -> str:
        return f"whisper {self._model_name}{self._where} (on this machine)"

    async def start(self) -> None:
        """Load the model, in a thread.

        Raises:
            ConfigError: the model is not on this machine, or cannot be loaded.
            ProviderError: it could not be fetched.
        """
        if self._model is None:
            self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix="whisper")
            await asyncio.get_running_loop().run_in_executor(self._threads, self._load)

    async def close(self) -> None:
        """Let go of the model; waits for the utterance that is being decoded."""
        threads, self._threads = self._threads, None
        self._model = None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown, wait=True, cancel_futures=True)

    def create_service(self) -> SegmentSTTService:
        return self.service_for(self._language)

    def service_for(self, language: str | None) -> SegmentSTTService:
        """A service that takes this language for spoken where the client names none."""
        return SegmentSTTService(self.transcribe, model=self._model_name, language=language)

    def with_language(self, language: str | None) -> WhisperInLanguage:
        """The same model with another language of its own."""
        return WhisperInLanguage(self, language)

    async def transcribe(self, utterance: Utterance) -> Recognition:
        """Understand an utterance.

        Raises:
            ProviderError: the model failed, or took too long.
        """
        if self._threads is None or self._model is None:
            raise RuntimeError("LocalWhisperProvider.start() comes first")
        given_up = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s + utterance.duration_s):
                return await loop.run_in_executor(
                    self._threads, self._decode, self._model, utterance, given_up.is_set
                )
        except TimeoutError as error:
            raise _failed(ErrorCategory.TIMEOUT, "did not answer in time") from error
        except RuntimeError as error:
            # What CTranslate2 raises, e.g. when the GPU has no memory left.
            logger.warning("whisper: %s", error)
            raise _failed(ErrorCategory.SERVER, "could not decode the speech") from error
        finally:
            # A thread cannot be cancelled; it looks up between two stretches of 30 s.
            given_up.set()

    def _decode(
        self, model: Any, utterance: Utterance, given_up: Callable[[], bool]
    ) -> Recognition:
        if given_up():
            return Recognition("")
        known = utterance.language_code
        segments, _ = model.transcribe(
            pcm16_to_float32(utterance.pcm),
            language=known if known in model.supported_languages else None,
            initial_prompt=utterance.prompt,
            # Whisper repeats itself when it reads its own errors.
            condition_on_previous_text=False,
        )
        heard: list[tuple[str, float]] = []
        for segment in segments:
            if given_up():
                break
            heard.append((segment.text, segment.avg_logprob))
        text = "".join(piece for piece, _ in heard).strip()
        if not utterance.logprobs:
            return Recognition(text)
        # The mean of a stretch's tokens is at hand. Word by word it would take a second pass, in
        # which faster-whisper cuts the stretches elsewhere: other words, because one asked.
        return Recognition(text, along(text, ((piece.strip(), mean) for piece, mean in heard)))

    def _load(self) -> None:
        import ctranslate2
        from faster_whisper import WhisperModel

        gpus = ctranslate2.get_cuda_device_count() if self._device != "cpu" else 0
        if self._device == "cuda" and not gpus:
            raise ConfigError("WHISPER_DEVICE", "there is no CUDA device; use cpu or auto")
        device = "cuda" if gpus else "cpu"
        compute_type = self._compute_type
        if compute_type == "auto":
            compute_type = _CUDA_TYPE if gpus else _CPU_TYPE
        try:
            self._model = WhisperModel(
                self._model_name,
                device=device,
                compute_type=compute_type,
                num_workers=self._workers,
                cpu_threads=self._cpu_threads,
                local_files_only=not self._allow_download,
            )
        except Exception as error:
            raise self._not_loaded(error, device, compute_type) from error
        self._where = f" on {device}, {compute_type}"
        if self._model.supported_languages == ["en"]:
            self.languages = frozenset({"en"})
        else:
            self.languages = frozenset(self._model.supported_languages)

    def _not_loaded(self, error: Exception, device: str, compute_type: str) -> Exception:
        from huggingface_hub.errors import LocalEntryNotFoundError

        name = self._model_name
        if isinstance(error, LocalEntryNotFoundError) and not self._allow_download:
            return ConfigError(
                "WHISPER_MODEL",
                f"{name!r} is not on this machine; set WHISPER_ALLOW_DOWNLOAD=true to fetch it "
                "once from huggingface.co, or WHISPER_MODEL to the folder of a model",
            )
        if isinstance(error, OSError):
            # Of all its errors the hub's client makes one of these.
            return ProviderError(
                Stage.STT,
                ErrorCategory.CONNECTIVITY,
                f"whisper {name!r} could not be fetched from the Hugging Face hub; set HF_ENDPOINT "
                "to a mirror, or WHISPER_MODEL to the folder of a model",
            )
        if isinstance(error, ValueError) and "compute type" in str(error):
            return ConfigError(
                "WHISPER_COMPUTE_TYPE",
                f"{compute_type!r} is nothing that {device} can do here; use auto, int8 or float32",
            )
        return ConfigError("WHISPER_MODEL", f"{name!r} cannot be loaded ({error})")


class WhisperInLanguage:
    """A loaded model as a profile with another language knows it; the model stays its owner's."""

    name: ClassVar[str] = LocalWhisperProvider.name

    def __init__(self, owner: LocalWhisperProvider, language: str | None) -> None:
        self._owner = owner
        self._language = language

    @property
    def languages(self) -> frozenset[str] | None:
        """Those of the model."""
        return self._owner.languages

    def describe(self) -> str:
        return self._owner.describe()

    async def start(self) -> None:
        """Nothing to bring up: the owner loads the model."""

    async def close(self) -> None:
        """Nothing to release."""

    def create_service(self) -> SegmentSTTService:
        return self._owner.service_for(self._language)


def _preflight(model: str) -> str:
    """The model's name, or its folder made absolute.

    faster-whisper would take a mistyped path for a repository, and complain of its spelling.
    """
    if importlib.util.find_spec("faster_whisper") is None:
        raise ConfigError(
            "STT_PROVIDER",
            f"local_whisper needs the package faster-whisper, which is not installed: {_INSTALL}",
        )
    folder = Path(model).expanduser()
    if folder.is_dir():
        missing = [name for name in _NEEDED_FILES if not (folder / name).is_file()]
        if missing:
            raise ConfigError(
                "WHISPER_MODEL",
                f"{model!r} is not a model converted for CTranslate2: it has no "
                f"{', '.join(missing)}",
            )
        return str(folder.resolve())
    if model.startswith((".", "~", "/", "\\")) or model.count("/") > 1 or "\\" in model:
        raise ConfigError("WHISPER_MODEL", f"there is no folder {model!r}")
    if "/" not in model:
        from faster_whisper import available_models

        sizes = available_models()
        if model not in sizes:
            raise ConfigError(
                "WHISPER_MODEL",
                f"must be a folder or one of: {', '.join(sizes)}; not {model!r}",
            )
    return model


def _failed(category: ErrorCategory, what: str) -> ProviderError:
    return ProviderError(Stage.STT, category, f"whisper {what}.")
