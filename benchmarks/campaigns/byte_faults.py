"""Ways to damage the bytes of a file, whatever it holds."""

import random


def flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 5))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flipped_at_an_end(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    place = rng.randrange(min(600, len(content)))
    changed[place if rng.random() < 0.5 else -1 - place] = rng.randrange(256)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def zeroed(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    place, length = rng.randrange(len(changed)), rng.choice((1, 16, 4096))
    changed[place : place + length] = bytes(len(changed[place : place + length]))
    return bytes(changed)


def taken_out(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + content[place + rng.choice((1, 2, 512)) :]


def appended(content: bytes, rng: random.Random) -> bytes:
    return content + rng.randbytes(rng.choice((1, 40)))
