"""A hand-built Whisper of two megabytes: real files for the real engine, and one fixed answer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from ctranslate2.specs import WhisperSpec
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

TRANSCRIPT: Final = "hello from a tiny scripted whisper"
"""What it hears in everything that is half a second or longer."""

_WIDTH = 64
_MEL_BANDS = 80
_TEXT_POSITIONS = 448
_AUDIO_POSITIONS = 1500
_TIMESTAMPS = 1501
_SPACE = "Ġ"
"""How a byte-level vocabulary writes the space in front of a word."""


def build_tiny_whisper(folder: Path) -> Path:
    """Write a model that faster-whisper loads; returns its folder.

    The decoder's sublayers are zero, so its state is its position, a one-hot vector; the
    projection then says the token that is due at that position: start time, words, end time, end
    of text. It is English-only, as every model with so small a vocabulary is taken to be.
    """
    tokens = _vocabulary()
    folder.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(tokens, folder)
    spec = WhisperSpec(1, 1, 1, 1)
    _fill_encoder(spec.encoder)
    _fill_decoder(spec.decoder, tokens)
    config: Any = spec.config
    config.suppress_ids = []
    config.suppress_ids_begin = [tokens.index("<|endoftext|>")]
    config.lang_ids = []
    config.alignment_heads = [[0, 0]]
    spec.register_vocabulary(tokens)
    spec.validate()
    spec.optimize()
    spec.save(str(folder))
    return folder


def _vocabulary() -> list[str]:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [f"{_SPACE}{word}" for word in TRANSCRIPT.split()]
    special = [
        *("endoftext", "startoftranscript", "translate", "transcribe"),
        *("startoflm", "startofprev", "nospeech", "notimestamps"),
    ]
    times = [f"{index * 0.02:.2f}" for index in range(_TIMESTAMPS)]
    return [*alphabet, *words, *(f"<|{name}|>" for name in (*special, *times))]


def _write_tokenizer(tokens: list[str], folder: Path) -> None:
    plain = [token for token in tokens if not token.startswith("<|")]
    tokenizer = Tokenizer(
        models.BPE(vocab={token: index for index, token in enumerate(plain)}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token in tokens if token.startswith("<|")]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))


def _fill_encoder(encoder: Any) -> None:
    # Small random numbers: its output is never looked at, but it must be finite.
    random = np.random.default_rng(1)
    _linear(encoder.conv1, random.normal(0, 0.02, (_WIDTH, _MEL_BANDS, 3)))
    _linear(encoder.conv2, random.normal(0, 0.02, (_WIDTH, _WIDTH, 3)))
    encoder.position_encodings.encodings = _zeros(_AUDIO_POSITIONS, _WIDTH)
    _fill_norm(encoder.layer_norm)
    for layer in encoder.layer:
        _fill_attention(layer.self_attention, 2)
        _fill_feed_forward(layer.ffn)


def _fill_decoder(decoder: Any, tokens: list[str]) -> None:
    decoder.embeddings.weight = _zeros(len(tokens), _WIDTH)
    positions = _zeros(_TEXT_POSITIONS, _WIDTH)
    due = [
        "<|0.00|>",
        *(f"{_SPACE}{word}" for word in TRANSCRIPT.split()),
        "<|1.00|>",
        "<|endoftext|>",
    ]
    projection = _zeros(len(tokens), _WIDTH)
    for position in range(_TEXT_POSITIONS):
        row = min(position, len(due) - 1)
        positions[position, row] = 1.0
    for row, token in enumerate(due):
        projection[tokens.index(token), row] = 4.0
    decoder.position_encodings.encodings = positions
    _linear(decoder.projection, projection)
    _fill_norm(decoder.layer_norm)
    for layer in decoder.layer:
        _fill_attention(layer.self_attention, 2)
        _fill_attention(layer.attention, 3)
        _fill_feed_forward(layer.ffn)


def _fill_attention(attention: Any, linears: int) -> None:
    _fill_norm(attention.layer_norm)
    # Queries, keys and values are one matrix in self-attention; elsewhere queries stand alone.
    rows: Iterable[int] = (3 * _WIDTH, _WIDTH) if linears == 2 else (_WIDTH, 2 * _WIDTH, _WIDTH)
    for linear, out in zip(attention.linear, rows, strict=True):
        _linear(linear, _zeros(out, _WIDTH))


def _fill_feed_forward(ffn: Any) -> None:
    _fill_norm(ffn.layer_norm)
    _linear(ffn.linear_0, _zeros(_WIDTH, _WIDTH))
    _linear(ffn.linear_1, _zeros(_WIDTH, _WIDTH))


def _fill_norm(norm: Any) -> None:
    norm.gamma = np.ones(_WIDTH, np.float32)
    norm.beta = _zeros(_WIDTH)


def _linear(linear: Any, weight: Any) -> None:
    linear.weight = weight.astype(np.float32)
    linear.bias = _zeros(weight.shape[0])


def _zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)
