"""Structures: what msgspec works out of each one is worked out before threads share it.

msgspec does so when a structure is first decoded, and lets other threads use it while it is half done: two
that meet a structure for the first time together end the whole process (segmentation fault, msgspec 0.22).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from weakref import WeakSet

import msgspec

_worked_out: WeakSet[type[msgspec.Struct]] = WeakSet()


def work_out_structs() -> int:
    """Work out every structure that is loaded and was not before; return how many.

    To be called before threads are started that decode. What cannot be decoded at all, as a union of untagged
    structures, is left alone: then no thread decodes it either.
    """
    fresh = [one for one in _below(msgspec.Struct) if one not in _worked_out]
    for one in fresh:
        _worked_out.add(one)
        with suppress(TypeError, ValueError, NameError, RuntimeError):
            msgspec.json.Decoder(one)
    return len(fresh)


def _below(class_: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for one in class_.__subclasses__():
        yield one
        yield from _below(one)
