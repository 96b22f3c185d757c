"""The assistant's message in a response: one part, of text or of speech, and what it has said.

What it is given goes out at once: at what pace speech may come is for the caller to say.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.messages import WordTime
from core.response_output import ResponseOutput
from core.speech import SpeechTimeline
from protocol import (
    ContentPartAdded,
    ContentPartDone,
    ItemStatus,
    Message,
    OutputAudio,
    OutputAudioDelta,
    OutputAudioDone,
    OutputText,
    OutputTextDelta,
    OutputTextDone,
    OutputTranscriptDelta,
    OutputTranscriptDone,
    ServerEvent,
)


class MessageOutput:
    """A message, open until its part closes.

    Args:
        output: That of its response.
        spoken: Whether it is speech with a transcript rather than text.
    """

    def __init__(self, output: ResponseOutput, *, spoken: bool) -> None:
        self.item_id = output.new_id("item")
        self._output = output
        self._spoken = spoken
        self._index = output.take_index()
        self._place = (output.response_id, self.item_id, self._index, 0)
        self._written: list[str] = []
        """What the model wrote."""
        self._announced_chars = 0
        """How much of it the engine has begun to speak."""
        self._sent: list[str] = []
        self._speech = SpeechTimeline()

    def open(self) -> list[ServerEvent]:
        """The first events of its life."""
        item = Message(self.item_id, "assistant", "in_progress", ())
        part = OutputAudio("") if self._spoken else OutputText("")
        return [
            *self._output.add(item, self._index, self._speech if self._spoken else None),
            ContentPartAdded(*self._place, part),
        ]

    # --- what it says -----------------------------------------------------------------------------

    def write(self, text: str) -> list[ServerEvent]:
        """More of the model's text; of speech it is told when it is said."""
        self._written.append(text)
        return [] if self._spoken else [OutputTextDelta(*self._place, self._next(text))]

    def announce(self, text: str) -> None:
        """The engine speaks this next."""
        self._announced_chars += len(text)

    def say(self, text: str) -> list[ServerEvent]:
        """The text whose audio follows."""
        self._speech.add_text(text)
        return self._transcribe(text)

    def time_words(self, words: Sequence[WordTime]) -> None:
        """When the words of the latest text sound."""
        self._speech.add_words(words)

    def sound(self, pcm: bytes) -> ServerEvent:
        """Audio of the latest text, s16le mono 24 kHz."""
        self._speech.add_audio(len(pcm))
        return OutputAudioDelta(*self._place, pcm)

    def silence(self, size_bytes: int) -> None:
        """Audio of the latest text was made and will never be sent."""
        self._speech.expect_audio(size_bytes)

    def say_rest(self) -> list[ServerEvent]:
        """The text behind what was spoken: marks that nobody reads out."""
        return self._transcribe(self._unannounced.rstrip()) if self._spoken else []

    def _transcribe(self, text: str) -> list[ServerEvent]:
        delta = self._next(text)
        return [OutputTranscriptDelta(*self._place, delta)] if delta else []

    def _next(self, text: str) -> str:
        """What of a text is sent: a message does not begin with space."""
        delta = text if self._sent else text.lstrip()
        if delta:
            self._sent.append(delta)
        return delta

    @property
    def _unannounced(self) -> str:
        return "".join(self._written)[self._announced_chars :]

    @property
    def unspoken(self) -> bool:
        """Whether speech is missing: nothing is called spoken that never sounded."""
        if not self._spoken:
            return False
        silent = self._unannounced if self._speech.audio_ms else "".join(self._written)
        return any(character.isalnum() for character in silent)

    # --- its end ----------------------------------------------------------------------------------

    def close(self, status: ItemStatus) -> list[ServerEvent]:
        """The last events of its life: part, then item."""
        text = "".join(self._sent)
        part: OutputAudio | OutputText
        events: list[ServerEvent]
        if self._spoken:
            part = OutputAudio(text)
            events = [OutputAudioDone(*self._place), OutputTranscriptDone(*self._place, text)]
        else:
            part = OutputText(text)
            events = [OutputTextDone(*self._place, text)]
        item = Message(self.item_id, "assistant", status, (part,))
        done = ContentPartDone(*self._place, part)
        return [*events, done, *self._output.finish(item, self._index)]
