"""What an injected fault makes of a transcript, of a model's reply and of speech.

Failures take the way of a vendor's: the same errors, at the place where the result would have been.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from protocol import ErrorCategory, ProviderError, Stage

from .faults import FaultKind, InjectedFault
from .recognition import Recognition, between
from .script_reply import Call, Fail, Finish, Hang, Pause, PlayRecording, SayToken, Step
from .tts_service import Speech
from .words import tokens

Sleep = Callable[[float], Awaitable[None]]

_FAILURES: Final[dict[FaultKind, ErrorCategory]] = {
    "timeout": ErrorCategory.TIMEOUT,
    "disconnect": ErrorCategory.CONNECTIVITY,
    # A vendor's answer that makes no sense is a fault of its server.
    "malformed": ErrorCategory.SERVER,
}


def category(fault: InjectedFault) -> ErrorCategory:
    """Which failure a fault is, where it is one."""
    return _FAILURES.get(fault.kind, fault.category)


async def spoiled_answer(
    fault: InjectedFault, heard: Recognition, sleep: Sleep = asyncio.sleep
) -> Recognition:
    """What a recogniser with this fault says of a segment.

    Raises:
        ProviderError: for the kinds that are failures.
    """
    match fault.kind:
        case "truncate":
            words = tokens(heard.text)
            text = "".join(words[: len(words) // 2])
            passages = heard.passages[: len(heard.passages) // 2]
            return Recognition(text, between(heard.logprobs, 0, len(text)), passages)
        case "empty":
            return Recognition("")
        case "slow":
            await sleep(fault.delay_ms / 1000)
            return heard
        case "hang":
            await asyncio.Event().wait()
            return heard
        case "error" | "timeout" | "disconnect" | "malformed":
            raise ProviderError(Stage.STT, category(fault), fault.told)


def spoiled_reply(fault: InjectedFault, steps: Sequence[Step]) -> tuple[Step, ...]:
    """A model's reply with this fault."""
    failure = Fail(category(fault), fault.told)
    match fault.kind:
        case "error" | "timeout":
            return (*_first(steps, fault.after_tokens), failure)
        case "hang":
            return (*_first(steps, fault.after_tokens), Hang())
        case "disconnect":
            return (*_first(steps, _length(steps) // 2), failure)
        case "truncate":
            said = _first(steps, _length(steps) // 2)
            return (*said, Finish("length", _length(said)))
        case "slow":
            return (Pause(fault.delay_ms), *steps)
        case "malformed":
            if not any(isinstance(step, Call) for step in steps):
                return (failure,)
            return tuple(_cut_short(step) for step in steps)
        case "empty":
            return (Finish("stop", 0),)


async def spoiled_speech(
    fault: InjectedFault, speech: Speech, sleep: Sleep = asyncio.sleep
) -> Speech:
    """The speech of one clause by a voice with this fault; the given one is closed with it.

    Raises:
        ProviderError: for the kinds that are failures.
    """
    async with aclosing(speech):
        match fault.kind:
            case "disconnect" | "truncate":
                pieces = [piece async for piece in speech]
                audio = b"".join(piece for piece in pieces if isinstance(piece, bytes))
                for piece in pieces:
                    if not isinstance(piece, bytes):
                        yield piece
                # Whole samples.
                yield audio[: len(audio) // 4 * 2]
                if fault.kind == "disconnect":
                    raise ProviderError(Stage.TTS, category(fault), fault.told)
            case "slow":
                await sleep(fault.delay_ms / 1000)
                async for piece in speech:
                    yield piece
            case "hang":
                await asyncio.Event().wait()
            case "error" | "timeout" | "malformed":
                raise ProviderError(Stage.TTS, category(fault), fault.told)
            case "empty":
                return


def _length(steps: Sequence[Step]) -> int:
    return sum(isinstance(step, SayToken | PlayRecording | Call) for step in steps)


def _first(steps: Sequence[Step], count: int) -> tuple[Step, ...]:
    """The first tokens of a reply, without its end; a call or a recording counts as one."""
    kept: list[Step] = []
    for step in steps:
        if isinstance(step, SayToken | PlayRecording | Call):
            if count == 0:
                break
            count -= 1
        elif not isinstance(step, Pause):
            break
        kept.append(step)
    return tuple(kept)


def _cut_short(step: Step) -> Step:
    """A call's arguments without their end, which is no JSON any more."""
    if not isinstance(step, Call):
        return step
    arguments = "".join(step.arguments)
    return replace(step, arguments=tuple(tokens(arguments[: max(len(arguments) // 2, 1)])))
