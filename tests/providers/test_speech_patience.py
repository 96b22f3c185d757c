"""How long a voice may keep its listener waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from providers.speech_patience import SpeechPatience


class Clock:
    """Seconds that pass when told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


# Each step: what a piece was waited for, how much audio it brought, what is left then.
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([(3.0, 0.0, 7.0), (3.0, 0.0, 4.0)], id="silence adds up"),
        pytest.param([(3.0, 1.0, 8.0), (3.0, 1.0, 6.0)], id="a trickle falls behind"),
        pytest.param([(3.0, 3.0, 10.0), (9.0, 9.0, 10.0)], id="as fast as it sounds"),
        pytest.param([(0.0, 60.0, 10.0), (9.0, 0.0, 10.0)], id="what is ahead makes up for a wait"),
        pytest.param([(12.0, 0.0, 0.001)], id="nothing left"),
    ],
)
def test_waits_count_and_audio_makes_up_for_them(steps: list[tuple[float, float, float]]) -> None:
    clock = Clock()
    patience = SpeechPatience(10.0, clock)
    assert patience.left_s() == 10.0
    for waited_s, audio_s, left_s in steps:
        with patience.waiting():
            clock.now_s += waited_s
        patience.heard(audio_s)
        # What passes between two pieces is nobody's wait.
        clock.now_s += 100.0
        assert patience.left_s() == left_s


async def test_waits_for_a_source_count() -> None:
    clock = Clock()
    patience = SpeechPatience(10.0, clock)

    async def source() -> AsyncIterator[int]:
        for piece in range(3):
            clock.now_s += 1.0
            yield piece

    assert [piece async for piece in patience.pieces(source())] == [0, 1, 2]
    assert patience.left_s() == 7.0
