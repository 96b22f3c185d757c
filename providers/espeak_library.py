"""The espeak-ng library through ctypes: text in, audio and word events out.

To be used in a process of its own and by one thread only: espeak-ng keeps voice, rate and
callback globally, is not thread-safe and can end the process.
"""

from __future__ import annotations

import ctypes
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np
from numpy.typing import NDArray

from .voices import Catalogue, Voice

# Values of espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_ENDPAUSE = 0x1000
_POS_CHARACTER = 1
_EVENT_LIST_TERMINATED = 0
_EVENT_WORD = 1
_RATE, _VOLUME, _PITCH, _RANGE, _PUNCTUATION, _CAPITALS, _WORDGAP = range(1, 8)
_PARAMETERS = {_VOLUME: 100, _PITCH: 50, _RANGE: 50, _PUNCTUATION: 0, _CAPITALS: 0, _WORDGAP: 0}
_RATE_LIMITS_WPM = (80, 450)


class _EventId(ctypes.Union):
    _fields_ = (
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


class _VoiceRecord(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True, slots=True)
class WordEvent:
    """espeak begins a word: character offset and length in the run, time from the run's start."""

    offset: int
    length: int
    start_ms: int


Deliver = Callable[[NDArray[np.int16], list[WordEvent]], bool]
"""Takes a piece of audio with the words that begin in it; answers whether to go on."""


class EngineError(Exception):
    """espeak-ng refused; the message is free of the text."""


class Espeak:
    """The library, loaded once per process; only ever used by one thread."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_VoiceRecord))
        data_path = Path(espeakng_loader.get_data_path()).resolve()
        # espeak-ng cuts paths off at about 160 characters, which a deep virtual environment
        # exceeds. From within its parent folder the data has a short name.
        os.chdir(data_path.parent)
        # Without DONT_EXIT a bad path would end the process with no word said.
        self.sample_rate_hz: int = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 60, os.fsencode(data_path.name), _INITIALIZE_DONT_EXIT
        )
        if self.sample_rate_hz <= 0:
            raise EngineError("espeak-ng cannot read its data")
        variants = {file.name.lower(): file.name for file in (data_path / "voices/!v").iterdir()}
        self.catalogue = Catalogue(self._languages(), variants)
        self._deliver: Deliver | None = None
        self._callback = _Callback(self._on_audio)  # must outlive every call
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(
        self,
        text: str,
        voice: Voice,
        *,
        rate_wpm: int,
        end_pause: bool,
        deliver: Deliver,
    ) -> None:
        """Speak a text; `deliver` gets audio and word events, and answers whether to go on.

        Raises:
            EngineError: espeak-ng reports an error.
        """
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise EngineError(f"espeak-ng has no voice {voice.name}")
        # Parameters are global and outlive the request; selecting a voice resets some of them.
        low, high = _RATE_LIMITS_WPM
        for parameter, value in {_RATE: min(max(rate_wpm, low), high), **_PARAMETERS}.items():
            self._library.espeak_SetParameter(parameter, value, 0)
        encoded = text.replace("\0", " ").encode("utf-8", errors="replace") + b"\0"
        flags = _CHARS_UTF8 | (_ENDPAUSE if end_pause else 0)
        self._deliver = deliver
        status = self._library.espeak_Synth(
            encoded, ctypes.c_size_t(len(encoded)), 0, _POS_CHARACTER, 0, flags, None, None
        )
        if status != 0:
            raise EngineError(f"espeak-ng reports error {status}")

    def _on_audio(self, samples: Any, count: int, events: Any) -> int:
        try:
            words: list[WordEvent] = []
            index = 0
            while (event := events[index]).type != _EVENT_LIST_TERMINATED:
                if event.type == _EVENT_WORD:
                    words.append(
                        WordEvent(event.text_position - 1, event.length, event.audio_position_ms)
                    )
                index += 1
            audio = np.ctypeslib.as_array(samples, (count,)).copy() if count else np.zeros(0, "i2")
            assert self._deliver is not None
            return 0 if self._deliver(audio, words) else 1
        except Exception:
            # Nothing may be raised through C; stopping the synthesis is all there is to do.
            traceback.print_exc()
            return 1

    def _languages(self) -> dict[str, str]:
        languages: dict[str, str] = {}
        records = self._library.espeak_ListVoices(None)
        index = 0
        while records[index]:
            record = records[index].contents
            file_name = record.identifier.decode().rpartition("/")[2]
            tag = ctypes.string_at(record.languages + 1).decode()  # behind its priority byte
            for name in (file_name, tag, record.name.decode()):
                languages.setdefault(name.lower(), file_name)
            index += 1
        return languages
