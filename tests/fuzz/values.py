"""Values a careless or hostile client puts where something else belongs."""

from __future__ import annotations

import base64
import random
from typing import Any

SURROGATE = "\ud800"
_NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2, 16, 255, 4096, 4097, 24_000, 65_536, 2**31, 2**53 + 1, 2**63, 2**64 - 1, -(2**63),
    10**30, 0.0, -0.0, 0.1, 0.5, 1.5, 2.5, 1e-300, 1e300, -1e300,
)  # fmt: skip
_WORDS = (
    "", " ", "\0", "null", "true", "0", "root", "auto", "none", "inf", "audio", "text", "message",
    "user", "assistant", "system", "developer", "function", "mcp", "server_vad", "semantic_vad",
    "audio/pcm", "pcm16", "g711_ulaw", "realtime", "transcription", "item_reference", "🦜",
    "你好", "\u202eright to left", "a\nb", "'quoted'", '"double"', "{braces}", "%s %d", "../../etc",
    "<script>", SURROGATE, f"x{SURROGATE}y",
)  # fmt: skip
_LENGTHS = (65, 129, 513, 1025, 5000, 20_000)


def text(rng: random.Random) -> str:
    """Some words of a chat."""
    words = ("hello", "there", "what", "is", "你好", "the", "weather", "émile", "ok?", "🙂", "two")
    return " ".join(rng.choice(words) for _ in range(rng.randint(1, 8)))


def long_text(rng: random.Random) -> str:
    """A string longer than anything should be; once in a long while a megabyte."""
    length = 1_000_000 if rng.random() < 0.003 else rng.choice(_LENGTHS)
    return rng.choice(("x", "é", "'", "\\", "\0", "字", "ab ")) * length


def nested(rng: random.Random) -> Any:
    """Arrays and objects in each other, from a few levels to more than JSON parsers take."""
    depth = rng.choice((3, 20, 90, 101, 120, 260))
    value: Any = rng.choice((None, 1, "x"))
    as_object = rng.random() < 0.5
    for _ in range(depth):
        value = {"a": value} if as_object else [value]
    return value


def any_value(rng: random.Random) -> Any:
    """A value of any JSON type."""
    match rng.randrange(12):
        case 0:
            return None
        case 1:
            return rng.random() < 0.5
        case 2 | 3 | 4:
            return rng.choice(_NUMBERS)
        case 5 | 6:
            return rng.choice(_WORDS)
        case 7:
            return long_text(rng)
        case 8:
            return [any_value(rng) for _ in range(rng.randint(0, 3))]
        case 9:
            return {rng.choice(_WORDS): any_value(rng) for _ in range(rng.randint(0, 3))}
        case 10:
            return nested(rng)
        case _:
            return rng.choice(([], {}, [{}], [[]], {"type": None}, {"type": "x"}, [None]))


_NOISE = random.Random(5).randbytes(1_000_000)


def audio(rng: random.Random, size_bytes: int) -> str:
    """Base64 of noise; no two stretches of it are alike, so that audio can be recognised."""
    start = rng.randrange(max(len(_NOISE) - size_bytes, 1))
    return base64.b64encode(_NOISE[start : start + size_bytes]).decode()
