"""Decides from speech probabilities when a turn starts and ends; knows neither model nor clock.

Positions are 16 kHz samples. The figures quoted here were measured on the recordings the tests
use, each at dozens of window alignments and lead-ins and at several levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WINDOW_SAMPLES: Final = 512
"""One window of Silero at 16 kHz, 32 ms."""
SAMPLES_PER_MS: Final = 16

# Three windows in a row start a turn, one of them a confident one. Neither alone will do:
# background voices in loud office noise gave runs of up to 6 windows over 0.5 (3 or more in 7 %
# of the alignments) but never a window over 0.82, while speech reaches 0.85 within its first few
# windows. Asking for 6 plain windows (Pipecat's 0.2 s) hears a turn 100 ms later on average, this
# rule 16 ms later than 3 plain windows.
START_WINDOWS: Final = 3
CONFIDENT: Final = 0.85
# Speech that stays below `CONFIDENT` (a whisper, a far microphone) starts a turn by its length.
START_WINDOWS_UNSURE: Final = 10

# Speech goes on at a lower probability than it needs to start.
HYSTERESIS: Final = 0.15
# Below this there is silence even at a threshold of 0, which could not end a turn otherwise.
LOWEST: Final = 0.01

# Where did the speech begin that convinced the model? A soft onset (the "s" of "seven") hovers
# around 0.3 for 150 ms before the vowel, and a room's noise after digital silence looks just the
# same to the model. Loudness tells them apart: windows that are faint beside the speech are cut off
# the front of the run, or else the start is dated back over windows of some probability that are
# not. Over 1080 recordings behind random lead-ins 0.6 % of the starts are more than 100 ms off,
# without this rule 6 %.
ONSET_SHARE: Final = 0.3
ONSET_RMS_SHARE: Final = 0.3
ONSET_MAX_WINDOWS: Final = 6

# The model forgets speech over two or three windows, so its falling slope is not speech: windows
# between the two thresholds right after a convincing one count only if more than this many follow.
DECAY_WINDOWS: Final = 3

# The model also takes 130 ms and more to notice that a quiet speaker is followed by near silence.
# Below -60 dBFS and 26 dB under the loudest window of the turn there is no speech, whatever it
# says; the second condition keeps quiet recordings, the first keeps a slammed door from raising
# the bar. With this and the rule above 0.5 % of the ends are more than 100 ms off (one recording
# that dies away in applause), without them 3 %.
SILENT_RMS: Final = 1e-3
SILENT_RMS_SHARE: Final = 0.05


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """A turn began; `position` is the first sample of its first window."""

    position: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The silence window has passed; `position` is the end of the last speech window."""

    position: int


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """Silence has lasted for one of the pauses; the turn goes on unless somebody ends it.

    `end` is the end of the last speech window, `position` that of the silence so far.
    """

    end: int
    position: int


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """Somebody goes on speaking after a pause that was told."""


class TurnDetector:
    """Turns the probability and loudness of each window into starts and stops that alternate.

    Between the two it tells of pauses and of their ends, and a turn may be ended in a pause.
    """

    __slots__ = (
        "_end",
        "_fading",
        "_lead",
        "_pauses",
        "_pauses_told",
        "_peak_rms",
        "_position",
        "_run",
        "_run_peak",
        "_silence_samples",
        "_stay",
        "_threshold",
        "speaking",
    )

    def __init__(self, threshold: float = 0.5, silence_ms: int = 500, position: int = 0) -> None:
        self.configure(threshold, silence_ms)
        self.reset(position)

    def configure(self, threshold: float, silence_ms: int, pauses_ms: tuple[int, ...] = ()) -> None:
        """Change the rule from the next window on; a turn that is under way goes on.

        Args:
            threshold: Probability from which a window is speech.
            silence_ms: How much silence ends a turn.
            pauses_ms: After how much silence to tell of a pause, ascending.
        """
        self._pauses = tuple(pause_ms * SAMPLES_PER_MS for pause_ms in pauses_ms)
        self._threshold = max(threshold, LOWEST)
        self._stay = max(threshold - HYSTERESIS, LOWEST)
        self._silence_samples = silence_ms * SAMPLES_PER_MS

    def reset(self, position: int) -> None:
        """Forget everything; the next window starts at `position`."""
        self.speaking = False
        self._position = position
        self._end = position
        self._pauses_told = 0
        self._fading = 0
        self._peak_rms = 0.0
        self._run = 0
        self._run_peak = 0.0
        # The windows, oldest first, that may turn out to be the onset of a turn.
        self._lead: list[tuple[float, float]] = []

    def end_turn(self, end: int) -> bool:
        """End the turn in a pause; False when it has gone on, or ended, since that was told.

        Args:
            end: Of the `SpeechPaused`.
        """
        ended = self.speaking and self._end == end
        if ended:
            self.speaking = False
        return ended

    def push(
        self, probability: float, rms: float
    ) -> SpeechStarted | SpeechPaused | SpeechResumed | SpeechStopped | None:
        """Account for the next window.

        A stop is reported at the first window at whose end `silence_ms` have passed since the
        end of speech, hence at most one window late.

        Args:
            probability: The model's score of the window.
            rms: Its root mean square, full scale being 1.
        """
        self._position += WINDOW_SAMPLES
        if self.speaking:
            return self._while_speaking(probability, rms)
        return self._while_quiet(probability, rms)

    def _while_quiet(self, probability: float, rms: float) -> SpeechStarted | None:
        if probability < self._threshold * ONSET_SHARE:
            self._lead.clear()
        else:
            self._lead.append((probability, rms))
            if len(self._lead) > ONSET_MAX_WINDOWS + START_WINDOWS_UNSURE:
                del self._lead[0]
        if probability < self._threshold:
            self._run = 0
            self._run_peak = 0.0
            return None
        self._run += 1
        self._run_peak = max(self._run_peak, probability)
        sure = self._run >= START_WINDOWS and self._run_peak >= CONFIDENT
        if not sure and self._run < START_WINDOWS_UNSURE:
            return None
        self.speaking = True
        self._peak_rms = max(loudness for _, loudness in self._lead[-self._run :])
        start = self._position - self._windows_since_onset() * WINDOW_SAMPLES
        self._end = self._position
        self._pauses_told = 0
        self._fading = 0
        self._run = 0
        self._run_peak = 0.0
        self._lead.clear()
        return SpeechStarted(start)

    def _windows_since_onset(self) -> int:
        """How many windows the speech has lasted when its run triggers."""
        lead = self._lead
        faint = self._peak_rms * ONSET_RMS_SHARE
        begin = first = len(lead) - self._run
        while lead[first][0] < CONFIDENT and lead[first][1] < faint:
            first += 1
        if first == begin:
            earliest = max(0, begin - ONSET_MAX_WINDOWS)
            while first > earliest and lead[first - 1][1] >= faint:
                first -= 1
        return len(lead) - first

    def _while_speaking(
        self, probability: float, rms: float
    ) -> SpeechPaused | SpeechResumed | SpeechStopped | None:
        self._peak_rms = max(self._peak_rms, rms)
        if rms < min(SILENT_RMS, self._peak_rms * SILENT_RMS_SHARE):
            probability = 0.0
        if probability >= self._threshold:
            self._fading = 0
            return self._goes_on()
        if probability >= self._stay:
            self._fading += 1
            return self._goes_on() if self._fading > DECAY_WINDOWS else None
        # After a window of silence, weak speech is not a falling slope but speech of its own.
        self._fading = DECAY_WINDOWS
        silence = self._position - self._end
        if silence >= self._silence_samples:
            self.speaking = False
            return SpeechStopped(self._end)
        told = self._pauses_told
        while told < len(self._pauses) and silence >= self._pauses[told]:
            told += 1
        paused = told > self._pauses_told
        self._pauses_told = told
        return SpeechPaused(self._end, self._position) if paused else None

    def _goes_on(self) -> SpeechResumed | None:
        self._end = self._position
        paused, self._pauses_told = self._pauses_told > 0, 0
        return SpeechResumed() if paused else None


RESET_SCORE: Final = 0.1
RESET_LOW_WINDOWS: Final = 5
RESET_INTERVAL_WINDOWS: Final = 63


class StateResetRule:
    """Says when the model's recurrent state may be cleared without touching speech.

    Non-speech shifts that state so that the model under-reports the speech that follows. As in
    Pipecat's own analyser a reset is due 2 s after the last one and waits for a run of clear
    non-speech windows while no turn is under way.
    """

    __slots__ = ("_low", "_since")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """The state was cleared just now."""
        self._low = 0
        self._since = 0

    def push(self, probability: float, speaking: bool) -> bool:
        """Account for the next window; True when the state must be cleared after it."""
        self._since += 1
        self._low = self._low + 1 if probability < RESET_SCORE else 0
        if speaking or self._low < RESET_LOW_WINDOWS or self._since < RESET_INTERVAL_WINDOWS:
            return False
        self.reset()
        return True
