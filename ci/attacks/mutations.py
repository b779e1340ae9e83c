"""Mutate files: bytes at random, and the text of headers, plans, rules and indexes where it hurts."""

from __future__ import annotations

import random
import re
import struct

NUMBERS = (
    *("0", "1", "-1", "-0", "2", "7", "255", "256", "65535", "4294967295", "4294967296", "9223372036854775807"),
    *("18446744073709551615", "18446744073709551616", "1e3", "1.5", "1e999", "NaN", "Infinity", "null", "true"),
    *("9" * 30, "0.0", "-1e-400", "1E2"),
)
WORDS = (
    *('"F32"', '"BF16"', '"F4"', '"F6_E2M3"', '"F8_E8M0"', '"U8"', '"BOOL"', '"C64"', '"F128"', '"dtype"', '"shape"'),
    *('"data_offsets"', '"__metadata__"', '"fastinit.laws"', '"fastinit.seed"', '"law"', '"Normal"', '"Uniform"'),
    *('"Orthogonal"', '"Sparse"', '"Blocks"', '"Padded"', '"Constant"', '"TruncatedNormal"', '"axis"', '"parts"', '""'),
    *('"\\u0000"', '"\\ud800"', '"\\u202e"', '"../../x"', '"w\\u001b[2J"', '"' + "x" * 300 + '"', "{}", "[]", "[[]]"),
    *(
        '{"complex":[1,2]}',
        '{"law":"Normal"}',
        '{"law":"Sparse","inner":{"law":"Normal"}}',
        "[0,0]",
        "[1,2,3]",
        '"a":1,',
    ),
)
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|[{}\[\]:,]|true|false|null')
MOST_BYTES = 1 << 14


def of_bytes(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Turn bits, cut, insert, repeat, splice."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(7):
            case 0 if out:
                out[at % len(out)] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[at % len(out)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x7B, 0x5B))
            case 2:
                del out[at:]
            case 3:
                del out[at : at + rng.randrange(1, 9)]
            case 4:
                out[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 5:
                out[at:at] = out[at : at + rng.randrange(1, 65)]
            case _:
                other = rng.choice(others)
                out[at:] = other[rng.randrange(len(other) + 1) :]
    return bytes(out[:MOST_BYTES])


def of_text(rng: random.Random, text: str) -> str:
    """Replace, remove, repeat, swap tokens of JSON or TOML."""
    tokens = [(one.start(), one.end()) for one in TOKEN.finditer(text)]
    if not tokens:
        return rng.choice(WORDS)
    for _ in range(rng.choice((1, 1, 2, 3))):
        begin, end = rng.choice(tokens)
        match rng.randrange(6):
            case 0:
                new = rng.choice(NUMBERS)
            case 1:
                new = rng.choice(WORDS)
            case 2:
                new = ""
            case 3:
                new = text[begin:end] * rng.choice((2, 2, 3, 200))
            case 4:
                other = rng.choice(tokens)
                new = text[other[0] : other[1]]
            case _:
                other = rng.choice(tokens)
                new = text[begin:end] + "," + text[min(begin, other[0]) : max(end, other[1])]
        text = text[:begin] + new + text[end:]
        tokens = [(one.start(), one.end()) for one in TOKEN.finditer(text)] or [(0, 0)]
    return text[:MOST_BYTES]


def of_safetensors(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Mutate bytes, or the text of the header with its length put right, or a text within the metadata."""
    if rng.random() < 0.25 or len(data) < 10:
        return of_bytes(rng, data, others)
    (length,) = struct.unpack("<Q", data[:8])
    text = data[8 : 8 + length].decode(errors="replace")
    begin = text.find('"fastinit.laws":"')
    if begin >= 0 and rng.random() < 0.4:  # the laws are JSON in a string of JSON
        begin += len('"fastinit.laws":"')
        end = begin
        while text[end] != '"':
            end += 2 if text[end] == "\\" else 1
        inner = of_text(rng, text[begin:end].replace('\\"', '"'))
        text = text[:begin] + inner.replace("\\", "\\\\").replace('"', '\\"') + text[end:]
    else:
        text = of_text(rng, text)
    body = text.encode(errors="replace")
    rest = data[8 + length :]
    if rng.random() < 0.2:
        rest = rest[: rng.randrange(len(rest) + 1)] + rng.randbytes(rng.randrange(9))
    return (struct.pack("<Q", len(body)) + body + rest)[:MOST_BYTES]
