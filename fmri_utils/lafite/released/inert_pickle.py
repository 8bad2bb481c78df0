"""Pickles as data: a reader that calls nothing.

A pickle is a small program: it names functions and calls them. Restricting which ones it may name
is not enough: with every name refused, Python 3.11's own unpickler still dies of a deeply nested
tuple as a dictionary key (a segmentation fault from 2 MB) and reserves gigabytes for a memo index.
So the program is not run here. The standard library's ``pickletools`` splits it into opcodes, and
the reader below, which knows only the opcodes that data need, builds plain containers. A name in
the file stands for a *record* of ours or is refused; "calling" it makes such a record.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import BinaryIO

from ...project.errors import WeightsError

MAX_OPCODES = 1_000_000  # a 256 px checkpoint has 32 thousand; 0.3 GB of containers at worst
MAX_ENTRIES = 10_000  # of one dictionary or set
MAX_KEY = 2**31  # integers beyond it can be chosen to collide
SHOWN = 80  # characters of the file's own text in a message

Recorder = Callable[[tuple], object]


def shown(text: object) -> str:
    """Text from the file for a message: quoted, escaped to ASCII, cut short."""
    if type(text) is not str:
        return f"a {type(text).__name__}"
    return ascii(text[:SHOWN]) + ("..." if len(text) > SHOWN else "")


@dataclass(frozen=True, slots=True)
class Named:
    """A name in the file that is known, and how a call of it is recorded."""

    name: str
    record: Recorder


class Stateful:
    """A record that the file may give a state to (opcode BUILD)."""

    __slots__ = ()

    def take_state(self, state: object) -> None:
        """Check and keep a state."""
        raise NotImplementedError


class InertReader:
    """Read one pickle into dicts, lists, tuples, sets, numbers, texts, bytes and records.

    Parameters
    ----------
    known : mapping of str to callable
        ``"module name"`` of the globals that may occur, and a function from a tuple of arguments
        to the record that stands for the call.
    constants : mapping of str to object
        Globals that are not called, and the value that each stands for.
    persistent : callable, optional
        From a persistent id to a record. Without it, persistent ids are refused.
    what : str
        How messages call the file.
    max_opcodes : int
        A longer pickle is refused.
    """

    def __init__(
        self,
        known: Mapping[str, Recorder],
        *,
        constants: Mapping[str, object] = MappingProxyType({}),
        persistent: Callable[[object], object] | None = None,
        what: str = "the file",
        max_opcodes: int = MAX_OPCODES,
    ):
        self.names = {name: Named(name, record) for name, record in known.items()} | dict(constants)
        self.persistent = persistent
        self.what = what
        self.max_opcodes = max_opcodes
        self.stack: list = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def read(self, stream: BinaryIO) -> object:
        """The value of the pickle that begins where the stream stands; leaves it after the end.

        Raises
        ------
        WeightsError
            If the pickle is damaged or truncated, too long, uses an opcode that data do not need,
            or names a global that is not known.
        """
        for n, (opcode, argument, position) in enumerate(self._tokens(stream), start=1):
            step = STEPS.get(opcode.name)
            if step is None:
                small = type(argument) is int and argument.bit_length() <= 32
                told = argument if small else shown(argument)
                raise WeightsError(
                    f"{self.what} uses the pickle opcode {opcode.name} ({told}) at byte "
                    f"{position}; a LAFITE checkpoint has no use for it. Refused; nothing was "
                    "executed."
                )
            if n > self.max_opcodes:
                raise WeightsError(
                    f"{self.what} has more than {self.max_opcodes} pickle opcodes; expected far "
                    "fewer in a LAFITE checkpoint. Refused."
                )
            try:
                step(self, argument)
            except (IndexError, KeyError) as err:
                raise self._damaged(position, "it takes what was never put there") from err
        if len(self.stack) != 1 or self.marks:
            raise self._damaged(position, f"{len(self.stack)} values are left, not one")
        return self.stack.pop()

    def _tokens(self, stream: BinaryIO) -> Iterator[tuple]:
        """Opcodes with their arguments and places, up to and with STOP."""
        tokens = pickletools.genops(stream)
        while True:
            try:
                token = next(tokens)
            except StopIteration:
                return
            except (ValueError, OverflowError) as err:  # truncated, an unknown opcode, bad text
                raise self._damaged(stream.tell(), ascii(str(err)[:120])) from err
            yield token

    def _damaged(self, position: int | None, why: str) -> WeightsError:
        return WeightsError(
            f"{self.what} is damaged or truncated near byte {position} ({why}). Expected a whole "
            "pickle; fetch the file again and compare its size."
        )

    # -- the stack ---------------------------------------------------------------------------------

    def pop(self) -> object:
        """The topmost value; what lies under the last mark is out of reach."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise IndexError
        return self.stack.pop()

    def pop_many(self, n: int) -> list:
        """The topmost ``n`` values, the lowest first."""
        return [self.pop() for _ in range(n)][::-1]

    def pop_to_mark(self) -> list:
        """The values above the last mark, the lowest first."""
        begin = self.marks.pop()
        values = self.stack[begin:]
        del self.stack[begin:]
        return values

    def top(self, kind: type) -> object:
        """The topmost value, which has to be of one type."""
        value = self.pop()
        self.stack.append(value)
        if type(value) is not kind:
            raise WeightsError(
                f"{self.what} puts entries into {shown(value)}; expected a {kind.__name__}. "
                "Refused."
            )
        return value

    # -- steps -------------------------------------------------------------------------------------

    def push(self, value: object) -> None:
        """NONE, numbers, texts, bytes: the token's argument is the value."""
        self.stack.append(value)

    def mark(self, _: object) -> None:
        """MARK."""
        self.marks.append(len(self.stack))

    def keep(self, index: int | None) -> None:
        """BINPUT, LONG_BINPUT, MEMOIZE: note the topmost value."""
        value = self.pop()
        self.stack.append(value)
        self.memo[len(self.memo) if index is None else index] = value

    def recall(self, index: int) -> None:
        """BINGET, LONG_BINGET."""
        self.stack.append(self.memo[index])

    def add_to_list(self, values: list) -> None:
        """APPEND, APPENDS."""
        self.top(list).extend(values)

    def add_to_dict(self, values: list) -> None:
        """SETITEM, SETITEMS."""
        target = self.top(dict)
        if len(values) % 2:
            raise IndexError
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[self.checked_key(key)] = value
        self.check_length(target)

    def add_to_set(self, values: list) -> None:
        """ADDITEMS."""
        target = self.top(set)
        target.update(map(self.checked_key, values))
        self.check_length(target)

    def checked_key(self, key: object) -> str | int:
        """A text or a small integer. Hashing anything else could take forever, or the stack."""
        if type(key) is str or (type(key) is int and -MAX_KEY <= key < MAX_KEY):
            return key
        raise WeightsError(
            f"{self.what} has a dictionary key or set member that is a {type(key).__name__}; "
            "expected texts and integers of 32 bits. Refused."
        )

    def check_length(self, target: dict | set) -> None:
        """Bound the work of one container."""
        if len(target) > MAX_ENTRIES:
            raise WeightsError(
                f"{self.what} has a {type(target).__name__} with more than {MAX_ENTRIES} entries; "
                "expected far fewer in a LAFITE checkpoint. Refused."
            )

    def name(self, joined: str) -> None:
        """GLOBAL: ``"module name"``, known or refused."""
        if joined not in self.names:
            raise WeightsError(
                f"{self.what} names {shown(joined.replace(' ', '.', 1))}, which is not part of a "
                "LAFITE checkpoint. Refused; nothing was executed. Do not open this file with "
                "other tools unless you trust whoever made it."
            )
        self.stack.append(self.names[joined])

    def name_from_stack(self, _: object) -> None:
        """STACK_GLOBAL: module and name come from the stack; dotted names are only texts here."""
        module, name = self.pop_many(2)
        if type(module) is not str or type(name) is not str:
            raise WeightsError(f"{self.what} names a global by {shown(module)}. Refused.")
        self.name(f"{module} {name}")

    def call(self, _: object) -> None:
        """REDUCE, NEWOBJ: a record of a call; nothing but a known name can be "called"."""
        function, arguments = self.pop_many(2)
        if type(function) is not Named or type(arguments) is not tuple:
            raise WeightsError(
                f"{self.what} calls {shown(function)} with {shown(arguments)}; expected a known "
                "name and a tuple. Refused; nothing was executed."
            )
        self.stack.append(function.record(arguments))

    def build(self, _: object) -> None:
        """BUILD: only records that expect a state take one."""
        target, state = self.pop_many(2)
        if not isinstance(target, Stateful):
            raise WeightsError(
                f"{self.what} sets the state of {shown(target)}; expected that of a number type "
                "only. Refused; nothing was executed."
            )
        target.take_state(state)
        self.stack.append(target)

    def persistent_id(self, _: object) -> None:
        """BINPERSID."""
        identifier = self.pop()
        if self.persistent is None:
            raise WeightsError(
                f"{self.what} has a persistent id (opcode BINPERSID), which a LAFITE checkpoint "
                "does not use. Refused."
            )
        self.stack.append(self.persistent(identifier))

    def protocol(self, version: int) -> None:
        """PROTO."""
        if version > 5:
            raise WeightsError(f"{self.what} has pickle protocol {version}; expected 2 to 5.")


def _fixed_tuple(n: int) -> Callable:
    return lambda self, _: self.stack.append(tuple(self.pop_many(n)))


_VALUES = (
    "NONE BININT BININT1 BININT2 LONG1 BINFLOAT SHORT_BINUNICODE BINUNICODE BINUNICODE8 "
    "SHORT_BINBYTES BINBYTES BINBYTES8"
)
STEPS: dict[str, Callable[[InertReader, object], None]] = {
    **dict.fromkeys(_VALUES.split(), InertReader.push),
    "NEWTRUE": lambda self, _: self.stack.append(True),
    "NEWFALSE": lambda self, _: self.stack.append(False),
    "EMPTY_LIST": lambda self, _: self.stack.append([]),
    "EMPTY_DICT": lambda self, _: self.stack.append({}),
    "EMPTY_SET": lambda self, _: self.stack.append(set()),
    "EMPTY_TUPLE": _fixed_tuple(0),
    "TUPLE1": _fixed_tuple(1),
    "TUPLE2": _fixed_tuple(2),
    "TUPLE3": _fixed_tuple(3),
    "TUPLE": lambda self, _: self.stack.append(tuple(self.pop_to_mark())),
    "MARK": InertReader.mark,
    "APPEND": lambda self, _: self.add_to_list(self.pop_many(1)),
    "APPENDS": lambda self, _: self.add_to_list(self.pop_to_mark()),
    "SETITEM": lambda self, _: self.add_to_dict(self.pop_many(2)),
    "SETITEMS": lambda self, _: self.add_to_dict(self.pop_to_mark()),
    "ADDITEMS": lambda self, _: self.add_to_set(self.pop_to_mark()),
    "BINPUT": InertReader.keep,
    "LONG_BINPUT": InertReader.keep,
    "MEMOIZE": InertReader.keep,
    "BINGET": InertReader.recall,
    "LONG_BINGET": InertReader.recall,
    "GLOBAL": InertReader.name,
    "STACK_GLOBAL": InertReader.name_from_stack,
    "REDUCE": InertReader.call,
    "NEWOBJ": InertReader.call,
    "BUILD": InertReader.build,
    "BINPERSID": InertReader.persistent_id,
    "PROTO": InertReader.protocol,
    "FRAME": lambda self, _: None,
    "STOP": lambda self, _: None,
}
