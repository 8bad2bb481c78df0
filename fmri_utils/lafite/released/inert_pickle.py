"""Pickles as data: a reader that calls nothing of what a file names.

A pickle is a small program: it names functions and calls them. Python's own unpickler in pure
Python (the C one dies of crafted files) runs it here with three changes. It knows only the opcodes
that data need; a name in the file stands for a function of ours, or is refused; only texts and
small integers become keys. The functions of ours build plain values. Before that,
``pickletools`` splits the file into opcodes, which bounds their number.
"""

import pickle
import pickletools
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import BinaryIO

import numpy as np

from ...project.errors import WeightsError

MAX_OPCODES = 200_000  # a 256 px checkpoint has 32 thousand
MAX_ENTRIES = 10_000  # of one dictionary or set
MAX_KEY = 2**31  # integers beyond it can be chosen to collide
MAX_QUOTED = 80  # characters of the file's own text in a message
OPCODES = (
    "NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT SHORT_BINUNICODE BINUNICODE "
    "BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8 EMPTY_LIST EMPTY_DICT EMPTY_SET EMPTY_TUPLE "
    "TUPLE1 TUPLE2 TUPLE3 TUPLE MARK APPEND APPENDS SETITEM SETITEMS ADDITEMS BINPUT LONG_BINPUT "
    "MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD BINPERSID PROTO FRAME STOP"
)
NEEDED = frozenset(OPCODES.split())

Known = Callable[..., object]


def quoted(text: object) -> str:
    """Text from the file for a message: quoted, escaped to ASCII, cut short."""
    if type(text) is not str:
        return f"a {type(text).__name__}"
    return ascii(text[:MAX_QUOTED]) + ("..." if len(text) > MAX_QUOTED else "")


def read_inert(
    stream: BinaryIO,
    known: Mapping[str, object],
    *,
    what: str,
    persistent_ids: bool = False,
    max_opcodes: int = MAX_OPCODES,
) -> object:
    """Read one pickle into dicts, lists, tuples, sets, numbers, texts, bytes and our own values.

    Parameters
    ----------
    stream : binary file
        Stands where the pickle begins; is left after its end.
    known : mapping of str to object
        ``"module.name"`` of the globals that may occur, and the function that is called in its
        place, or the constant that stands for it. The functions must not trust their arguments.
    what : str
        How messages call the file.
    persistent_ids : bool
        Whether there may be persistent ids. The id itself is the value.
    max_opcodes : int
        A longer pickle is refused.

    Raises
    ------
    WeightsError
        If the pickle is damaged or truncated, too long, uses an opcode that data do not need,
        or names a global that is not known.
    """
    start = stream.tell()
    try:
        for n, (opcode, _, position) in enumerate(pickletools.genops(stream), start=1):
            if opcode.name not in NEEDED:
                raise WeightsError(
                    f"{what} uses the pickle opcode {opcode.name} at byte {position}; expected "
                    "data only. Refused; nothing was executed."
                )
            if n > max_opcodes:
                raise WeightsError(
                    f"{what} has more than {max_opcodes} pickle opcodes. Refused; expected fewer."
                )
        end = stream.tell()
        stream.seek(start)
        reader = _Reader(stream, known, what, persistent_ids)
        value = reader.load()
        if reader.stack or reader.metastack:
            raise ValueError("more than one value is left")
    except (WeightsError, MemoryError, OSError):  # the file may be whole
        raise
    except Exception as err:  # whatever else stops the unpickler, the file is not a checkpoint
        raise WeightsError(
            f"{what} is damaged or truncated near byte {stream.tell()} ({type(err).__name__}: "
            f"{str(err)[:120]!a}). Expected a whole pickle; fetch the file again."
        ) from err
    stream.seek(end)
    return value


class _Reader(pickle._Unpickler):
    """Python's unpickler with few opcodes, and with functions of ours for every name."""

    def __init__(self, stream, known, what: str, persistent_ids: bool):
        super().__init__(stream)
        self.known, self.what, self.persistent_ids = known, what, persistent_ids

    def refuse(self, what_it_does: str) -> WeightsError:
        """The error for what no checkpoint does."""
        return WeightsError(f"{self.what} {what_it_does}. Refused; nothing was executed.")

    def find_class(self, module: str, name: str) -> object:
        """What stands for a name; dotted names are only texts here."""
        joined = f"{module}.{name}"
        if joined not in self.known:
            raise WeightsError(
                f"{self.what} names {quoted(joined)}, which is not part of a LAFITE checkpoint. "
                "Refused; nothing was executed. Do not open this file unless you trust its maker."
            )
        return self.known[joined]

    def persistent_load(self, pid: object) -> object:
        """The id itself."""
        if not self.persistent_ids:
            raise self.refuse("has a persistent id (opcode BINPERSID), as no LAFITE checkpoint has")
        return pid

    def load_call(self) -> None:
        """REDUCE, NEWOBJ: only a function of ours is ever called."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not FunctionType or type(arguments) is not tuple:
            what = f"calls {quoted(function)} with {quoted(arguments)}"
            raise self.refuse(f"{what}; expected a known name and a tuple")
        self.append(function(*arguments))

    def load_state(self) -> None:
        """BUILD: only a number type has a state, which says its byte order."""
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, np.dtype):
            raise self.refuse(f"sets the state of {quoted(target)}; expected that of a number type")
        if type(state) is not tuple or state[1:2] not in (("<",), ("=",), ("|",)):
            raise self.refuse("has numbers that are not little-endian; expected such")

    def load_entries(self) -> None:
        """SETITEMS, ADDITEMS."""
        values = self.pop_mark()
        target = self.stack[-1]
        keys = values[::2] if type(target) is dict else values
        for key in keys:  # hashing anything else could take forever, or the stack
            if type(key) is not str and not (type(key) is int and -MAX_KEY <= key < MAX_KEY):
                kind = type(key).__name__
                raise self.refuse(f"has a key that is a {kind}; expected texts and small integers")
        if type(target) is dict:
            target.update(zip(keys, values[1::2], strict=True))
        elif type(target) is set:
            target.update(keys)
        else:
            raise self.refuse(f"puts entries into {quoted(target)}; expected a dictionary or set")
        if len(target) > MAX_ENTRIES:
            raise self.refuse(f"has more than {MAX_ENTRIES} entries in {quoted(target)}")

    def load_entry(self) -> None:
        """SETITEM."""
        entry = [self.stack.pop(), self.stack.pop()][::-1]
        self.load_mark()
        self.stack += entry
        self.load_entries()

    dispatch = {
        code: step
        for code, step in pickle._Unpickler.dispatch.items()
        if pickletools.code2op[chr(code)].name in NEEDED
    } | {
        pickle.REDUCE[0]: load_call,
        pickle.NEWOBJ[0]: load_call,
        pickle.BUILD[0]: load_state,
        pickle.SETITEM[0]: load_entry,
        pickle.SETITEMS[0]: load_entries,
        pickle.ADDITEMS[0]: load_entries,
    }
