"""Spoiled files: what a broken disk, a cut download or a foreign tool may leave, from a seed."""

import copy
import json
import struct

ODD = [None, True, -1, 0, 3, 10**9, 2**63, -(2**70), 1e300, -0.5, float("nan"), float("inf"), "", "x", "\u0000",
       "../..", [], {}, [[]], [None], {"x": 1}, [1, 2], ["a"] * 5, [1e30, 0, 0], "1e9"]  # fmt: skip


def spoiled_bytes(data, rng):
    """Cut, flipped, overwritten, doubled or shuffled bytes."""
    data = bytearray(data)
    kind = rng.integers(6)
    at, to = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    if kind == 0:
        return bytes(data[:at])
    if kind == 1:
        for i in rng.integers(0, len(data), rng.integers(1, 20)):
            data[i] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        data[at:to] = rng.bytes(min(to - at, 400))
    elif kind == 3:
        data[at:at] = data[at:to][:2000]
    elif kind == 4:
        del data[at : at + int(rng.integers(1, 50))]
    else:
        word = struct.pack("<I", int(rng.choice([0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 2**31])))
        data[at : at + 4] = word
    return bytes(data)


def spoiled_json(value, rng):
    """A copy with one to three of its values replaced, removed or repeated."""
    value = copy.deepcopy(value)
    for _ in range(rng.integers(1, 4)):
        places = list(_places(value))
        if not places:
            break
        holder, key = places[rng.integers(len(places))]
        kind = rng.integers(8)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[key] = copy.deepcopy(ODD[rng.integers(len(ODD))])
    return value


def _places(value):
    """Every (holder, key) in nested lists and dicts, long lists by their first items."""
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value[:6]))
    for key, inner in items:
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from _places(inner)


def split_glb(data):
    """The JSON of a .glb, and what follows it."""
    length = struct.unpack("<I", data[12:16])[0]
    return json.loads(data[20 : 20 + length]), data[20 + length :]


def join_glb(header, rest):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    return b"glTF" + struct.pack("<IIII", 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest
