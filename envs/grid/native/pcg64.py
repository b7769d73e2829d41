"""NumPy's PCG64 generator and its bounded integers, in compiled code.

Source: O'Neill, "PCG", 2014 (setseq 128, XSL RR output), and Lemire, "Fast random integer generation in an interval",
2019, as NumPy's `Generator.integers` uses them. Dynamic-Obstacles draws random numbers in every step.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.compiled import compiled_exactly

Word = np.uint64
MULTIPLIER = (np.uint64(2549297995355413924), np.uint64(4865540595714422341))
HALF = np.uint64(32)
LOW = np.uint64(0xFFFFFFFF)
ONE = np.uint64(1)


def words(state: dict[str, Any]) -> list[int]:
    """Return the state of a PCG64 bit generator as six 64-bit words."""
    inner = state["state"]
    halves = [part for number in (inner["state"], inner["inc"]) for part in divmod(number, 2**64)]
    return [*halves, int(state["has_uint32"]), int(state["uinteger"])]


def state_of(words: NDArray[np.uint64]) -> dict[str, Any]:
    """Return the bit generator's state of six words: the inverse of `words`."""
    a, b, c, d, has, spare = (int(word) for word in words)
    inner = {"state": a * 2**64 + b, "inc": c * 2**64 + d}
    return {"bit_generator": "PCG64", "state": inner, "has_uint32": has, "uinteger": spare}


@compiled_exactly
def high_product(a: Word, b: Word) -> Word:
    """Return the upper 64 bits of a 128-bit product."""
    low, high = a & LOW, a >> HALF
    cross = high * (b & LOW) + (low * (b & LOW) >> HALF)
    other = low * (b >> HALF) + (cross & LOW)
    return high * (b >> HALF) + (cross >> HALF) + (other >> HALF)


@compiled_exactly
def next64(words: NDArray[np.uint64]) -> Word:
    """Advance the generator and return 64 random bits."""
    high, low = words[0], words[1]
    carry_high = high_product(low, MULTIPLIER[1]) + high * MULTIPLIER[1] + low * MULTIPLIER[0]
    product = low * MULTIPLIER[1]
    words[1] = product + words[3]
    words[0] = carry_high + words[2] + (ONE if words[1] < product else np.uint64(0))
    mixed, turn = words[0] ^ words[1], words[0] >> np.uint64(58)
    return mixed >> turn | mixed << (np.uint64(64) - turn & np.uint64(63))


@compiled_exactly
def next32(words: NDArray[np.uint64]) -> Word:
    """Return 32 random bits: half of 64, whose other half is kept for the next call."""
    if words[4]:
        words[4] = np.uint64(0)
        return words[5]
    bits = next64(words)
    words[4], words[5] = ONE, bits >> HALF
    return bits & LOW


@compiled_exactly
def integer(words: NDArray[np.uint64], low: int, high: int) -> int:
    """Return a random integer in [low, high), as `Generator.integers(low, high)` does."""
    count = np.uint64(high - low)
    if count == ONE:
        return low
    product = next32(words) * count
    if product & LOW < count:
        threshold = (LOW - (count - ONE)) % count
        while product & LOW < threshold:
            product = next32(words) * count
    return low + np.int64(product >> HALF)  # type: ignore[return-value]
