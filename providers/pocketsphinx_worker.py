"""The process that recognises speech with pocketsphinx: several utterances at once, interleaved.

pocketsphinx never releases the GIL, so nothing of it may run in the server. Work is done in
slices: between two slices new audio is taken in and another utterance gets its turn.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from pocketsphinx import Decoder, get_model_path
from pocketsphinx.lm import ArpaBoLM

from .phrase_model import PhraseModel
from .worker_channel import BOOT_REQUEST, EngineChannel, Kind, Message

_BYTES_PER_S = 16_000 * 2
_MOST_DECODERS = 4
# At 0.2 of real time a slice holds the loop for some 50 ms.
_SLICE_BYTES = _BYTES_PER_S // 4
_PARTIAL_INTERVAL_S = 0.1
_PROGRESS_INTERVAL_S = 1.0
# The first utterance of a session is misheard if decoding starts with a foreign cepstral mean:
# word error rate 0.42, against 0.24 with the mean of its own first second.
_MEAN_BYTES = _BYTES_PER_S
# How much of its weight the phrase model gives to word pairs that no phrase has: its default of
# 0.5 hears "tell me is story" in "tell me a story".
_MASS_OF_OTHER_PAIRS = 0.05
_SHORTEST_BYTES = _BYTES_PER_S // 10
# An open utterance that gets no audio (push-to-talk, key not pressed) gives its decoder away to
# one that waits, and starts anew when audio comes.
_IDLE_S = 2.0
_VARIANT = re.compile(r"\(\d+\)$")
"""Which of its pronunciations a word was heard in: `to(3)`."""
_LOOK_AGAIN_S = 0.5


class Utterance:
    """Audio that waits for its decoder, and what has been said about it."""

    def __init__(self, request_id: int, cepstral_mean: str | None, tells_words: bool) -> None:
        self.request_id = request_id
        self.cepstral_mean = cepstral_mean
        self.tells_words = tells_words
        self.audio = bytearray()
        self.decoded = bytearray()
        self.finished = False
        self.decoder: Decoder | None = None
        self.decoding = False
        self.partial = ""
        self.worked_at_s = 0.0
        self.answered_at_s = time.monotonic() - _PARTIAL_INTERVAL_S

    def give_up_decoder(self) -> Decoder | None:
        """Return its decoder, ready for another utterance; what it had decoded waits again."""
        decoder, self.decoder = self.decoder, None
        if decoder is not None and self.decoding:
            decoder.end_utt()
            self.decoding = False
        self.audio[:0] = self.decoded
        self.decoded.clear()
        return decoder

    @property
    def workable(self) -> bool:
        """Whether there is something to do for it now."""
        if self.finished:
            return True
        if self.decoding:
            return bool(self.audio)
        return len(self.audio) >= (_MEAN_BYTES if self.cepstral_mean is None else _SHORTEST_BYTES)


class Recogniser:
    """All utterances of this process and the decoders they share.

    Args:
        channel: Where answers go.
        load: Makes one more decoder; takes a third of a second in `general` mode.
        accepts: Whether a final hypothesis (text, probability) counts as understood.
    """

    def __init__(
        self,
        channel: EngineChannel,
        load: Callable[[], Decoder],
        accepts: Callable[[str, float], bool],
    ) -> None:
        self._channel = channel
        self._load = load
        self._accepts = accepts
        self._idle = [load()]
        self._loaded = 1
        self._utterances: dict[int, Utterance] = {}
        self._turns: deque[int] = deque()

    def handle(self, message: Message) -> None:
        """Take in one message."""
        request_id = message.request_id
        if message.kind is Kind.OPEN:
            asked = json.loads(message.payload)
            self._utterances[request_id] = Utterance(
                request_id, asked["cepstral_mean"], asked["words"]
            )
            self._turns.append(request_id)
        elif (utterance := self._utterances.get(request_id)) is not None:
            if message.kind is Kind.INPUT:
                utterance.audio += message.payload
            elif message.kind is Kind.FINISH:
                utterance.finished = True
            elif message.kind is Kind.CANCEL:
                self._drop(utterance)

    @property
    def patience_s(self) -> float | None:
        """How long to wait for a message: shorter while an utterance waits for a decoder."""
        waiting = any(
            utterance.workable and utterance.decoder is None
            for utterance in self._utterances.values()
        )
        return _LOOK_AGAIN_S if waiting else None

    def next_utterance(self) -> Utterance | None:
        """Whose turn it is, among those that have audio and can have a decoder."""
        for _ in range(len(self._turns)):
            utterance = self._utterances[self._turns[0]]
            self._turns.rotate(-1)
            if utterance.workable and self._has_decoder(utterance):
                return utterance
        return None

    def work(self, utterance: Utterance) -> None:
        """Decode one slice of it, or finish it."""
        decoder = utterance.decoder
        assert decoder is not None
        utterance.worked_at_s = time.monotonic()
        try:
            if not utterance.decoding and len(utterance.audio) >= _SHORTEST_BYTES:
                self._start(decoder, utterance)
            if not utterance.decoding:
                self._answer(utterance, "", [])  # too short to hold a word
            elif utterance.audio:
                piece = bytes(utterance.audio[:_SLICE_BYTES])
                del utterance.audio[:_SLICE_BYTES]
                utterance.decoded += piece
                decoder.process_raw(piece)
                self._report(decoder, utterance)
            elif utterance.finished:
                decoder.end_utt()
                utterance.decoding = False
                utterance.cepstral_mean = decoder.get_cmn(False)
                text = self._final_text(decoder)
                words = _words(decoder) if text and utterance.tells_words else []
                self._answer(utterance, text, words)
        except RuntimeError:
            # The decoder is in an unknown state; the next utterance gets a fresh one.
            self._loaded -= 1
            utterance.decoder = None
            self._channel.send(Kind.FAILED, utterance.request_id, b"the recogniser failed")
            self._drop(utterance)

    def _has_decoder(self, utterance: Utterance) -> bool:
        if utterance.decoder is None:
            if not self._idle and self._loaded < _MOST_DECODERS:
                self._idle.append(self._load())
                self._loaded += 1
            utterance.decoder = self._idle.pop() if self._idle else self._reclaim_decoder()
        return utterance.decoder is not None

    def _reclaim_decoder(self) -> Decoder | None:
        idle_since_s = time.monotonic() - _IDLE_S
        holders = [
            utterance
            for utterance in self._utterances.values()
            if utterance.decoder is not None
            and not utterance.workable
            and utterance.worked_at_s < idle_since_s
        ]
        if not holders:
            return None
        return min(holders, key=lambda utterance: utterance.worked_at_s).give_up_decoder()

    def _start(self, decoder: Decoder, utterance: Utterance) -> None:
        # Forgets what the decoder learned from another session.
        decoder.reinit_feat()
        if utterance.cepstral_mean is None:
            decoder.start_utt()
            decoder.process_raw(bytes(utterance.audio[:_MEAN_BYTES]), no_search=True, full_utt=True)
            decoder.end_utt()
            utterance.cepstral_mean = decoder.get_cmn(False)
        decoder.set_cmn(utterance.cepstral_mean)
        decoder.start_utt()
        utterance.decoding = True

    def _report(self, decoder: Decoder, utterance: Utterance) -> None:
        now_s = time.monotonic()
        quiet_s = now_s - utterance.answered_at_s
        if quiet_s < _PARTIAL_INTERVAL_S:
            return
        hypothesis = decoder.hyp()
        text = "" if hypothesis is None else hypothesis.hypstr
        if text and text != utterance.partial:
            utterance.partial = text
            utterance.answered_at_s = now_s
            self._channel.send(Kind.PARTIAL, utterance.request_id, text.encode())
        elif quiet_s >= _PROGRESS_INTERVAL_S:
            utterance.answered_at_s = now_s
            self._channel.send(Kind.PROGRESS, utterance.request_id)

    def _final_text(self, decoder: Decoder) -> str:
        hypothesis = decoder.hyp()
        if hypothesis is None or not self._accepts(hypothesis.hypstr, hypothesis.prob):
            return ""
        return hypothesis.hypstr

    def _answer(self, utterance: Utterance, text: str, words: list[tuple[str, float]]) -> None:
        answer = {"text": text, "words": words, "cepstral_mean": utterance.cepstral_mean}
        self._channel.send(Kind.DONE, utterance.request_id, json.dumps(answer).encode())
        self._drop(utterance)

    def _drop(self, utterance: Utterance) -> None:
        del self._utterances[utterance.request_id]
        self._turns.remove(utterance.request_id)
        decoder = utterance.give_up_decoder()
        if decoder is not None:
            self._idle.append(decoder)


def _words(decoder: Decoder) -> list[tuple[str, float]]:
    """The words of the hypothesis, silence among them, each with its posterior probability.

    That is the word's share of the decoder's own lattice: what it had not thought of counts for
    nothing, so it is surer of itself than it should be.
    """
    return [(_VARIANT.sub("", word.word), word.prob) for word in decoder.seg()]


def load_general_decoder() -> Decoder:
    """The wheel's own language model and its dictionary of 135 000 words."""
    return Decoder(
        hmm=get_model_path("en-us/en-us"),
        lm=get_model_path("en-us/en-us.lm.bin"),
        dict=get_model_path("en-us/cmudict-en-us.dict"),
        # The second pass makes finals wait 0.2 s on average instead of 0.05 s.
        fwdflat=False,
        loglevel="ERROR",
    )


def load_phrase_decoder(phrases: tuple[str, ...], dictionary: str) -> Decoder:
    """A language model of the given phrases only, with the dictionary of their words."""
    with tempfile.TemporaryDirectory(prefix="pocketsphinx-") as folder:
        model_file = Path(folder) / "phrases.lm"
        dictionary_file = Path(folder) / "phrases.dict"
        dictionary_file.write_text(dictionary, encoding="utf-8")
        model = ArpaBoLM(
            text="\n".join(phrases),
            add_start=True,
            case="lower",
            discount_mass=_MASS_OF_OTHER_PAIRS,
        )
        model.compute()
        with model_file.open("w", encoding="utf-8") as output:
            model.write(output)
        return Decoder(
            hmm=get_model_path("en-us/en-us"),
            lm=str(model_file),
            dict=str(dictionary_file),
            fwdflat=False,
            loglevel="ERROR",
        )


def make_recogniser(channel: EngineChannel, configuration: bytes) -> Recogniser:
    """For a `CONFIGURE` payload: `{"phrases": [...], "dictionary": "..."}`, or `{}` for general."""
    settings = json.loads(configuration)
    if not settings:
        return Recogniser(channel, load_general_decoder, lambda _text, _probability: True)
    phrases = PhraseModel(tuple(settings["phrases"]))
    dictionary: str = settings["dictionary"]
    return Recogniser(
        channel, lambda: load_phrase_decoder(phrases.phrases, dictionary), phrases.accepts
    )


def main() -> None:
    channel = EngineChannel()
    configuration = channel.receive(timeout_s=None)
    assert configuration is not None
    recogniser = make_recogniser(channel, configuration.payload)
    channel.send(Kind.READY, BOOT_REQUEST)
    while True:
        utterance = recogniser.next_utterance()
        if utterance is not None:
            recogniser.work(utterance)
        message = channel.receive(timeout_s=recogniser.patience_s if utterance is None else 0.0)
        while message is not None:
            recogniser.handle(message)
            message = channel.receive(timeout_s=0.0)


if __name__ == "__main__":
    main()
