"""Data with another structure: whole values of JSON, and whole lines, are changed, so that much stays readable."""

import copy
import json
import random
from contextlib import suppress

from mutated import PIECES
from shapes import ODD, in_full, places


def restructured(chance: random.Random, data: bytes) -> bytes:
    """Change a value of the last line that is a JSON object or, where none is, a line or what follows its separator."""
    lines = data.split(b"\n")
    for number in reversed(range(len(lines))):
        if lines[number].startswith(b"{"):
            with suppress(ValueError, RecursionError):
                lines[number] = _with_another_value(chance, lines[number])
                return b"\n".join(lines)
    return b"\n".join(_with_another_line(chance, lines))


def _with_another_value(chance: random.Random, line: bytes) -> bytes:
    value = json.loads(line)
    if found := list(places(value)):
        holder, key = chance.choice(found)
        if chance.randrange(4):
            holder[key] = copy.deepcopy(chance.choice(ODD))
        else:
            del holder[key]
    return in_full(json.dumps(value)).encode()


def _with_another_line(chance: random.Random, lines: list[bytes]) -> list[bytes]:
    place, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    deed = chance.randrange(5)
    if deed == 0:
        lines[place : place + 1] = []
    elif deed == 1:
        lines.insert(other, lines[place])
    elif deed == 2:
        lines[place], lines[other] = lines[other], lines[place]
    else:
        separator = chance.choice((b"=", b",", b":", b" "))
        name, found, value = lines[place].partition(separator)
        lines[place] = name + found + chance.choice((*PIECES, value + b" ", lines[other].partition(separator)[2]))
    return lines
