"""What hostile pickles do: opcodes of an expression, each of which would make a file."""

import io
from dataclasses import dataclass

import torch
from lafite_pickles import blob, call, named, text, tuple_of, whole


@dataclass(frozen=True)
class Case:
    """``make`` gets the file to touch; ``told`` must be in the refusal; ``obeyed``: Python's own
    unpickler would make the file (the others need a network, or show nothing)."""

    make: object
    told: str
    obeyed: bool = True
    protocol: int = 4


def shell(mark):
    return text(f"touch {mark}")


def python(mark):
    return f"open({str(mark)!r}, 'w').close()"


def torch_file(expression):
    """A file of torch's old format whose object is an expression."""
    stream = io.BytesIO()
    torch.save([], stream, _use_new_zipfile_serialization=False)
    head = stream.getvalue()
    head = head[: head.rindex(b"\x80\x02]q\x00.\x80\x02]")]
    return head + whole(expression, 2) + b"\x80\x02]."


def storage(data):
    return call("torch.storage:_load_from_bytes", blob(data))


def command(mark):
    return call("os:system", shell(mark))


def through_modules(mark):
    """collections has sys, sys has all modules: a dotted path out of a module that is known."""
    system = named("collections:_sys.modules.get", stacked=True) + tuple_of(text("posix")) + b"R"
    return call(call("builtins:getattr", system, text("system")), shell(mark))


def state_of(item, entries, slots=False):
    """BUILD with a dictionary of entries."""
    entries = b"}(" + entries + b"u"
    return item + (b"N" + entries + b"\x86" if slots else entries) + b"b"


def set_setstate(item, mark, slots=False):
    """Give an object os.system as __setstate__, then a state."""
    return state_of(item, text("__setstate__") + named("posix:system"), slots) + shell(mark) + b"b"


def stacked(mark, path, *arguments):
    return named(path, stacked=True) + tuple_of(*arguments) + b"R"


def lazily(mark):
    """map(os.system, [...]) by NEWOBJ_EX; whoever walks it runs it."""
    commands = b"](" + shell(mark) + b"e"
    return named("builtins:map") + tuple_of(named("os:system"), commands) + b"}\x92"


EASY = named("dnnlib.util:EasyDict")
CASES = {
    "os.system": Case(command, "os.system"),
    "Python 2 names": Case(
        lambda m: call("__builtin__:eval", text(python(m))), "__builtin__.eval", protocol=2
    ),
    "a dotted path": Case(lambda m: stacked(m, "os:path.os.system", shell(m)), "os.path.os.system"),
    "a dotted path out of a known module": Case(through_modules, "builtins.getattr"),
    "a dotted path below a known name": Case(
        lambda m: stacked(m, "collections:OrderedDict.fromkeys", b"]"),
        "collections.OrderedDict.fromkeys",
        False,
    ),
    "a known name in two words": Case(
        lambda m: stacked(m, "collections OrderedDict:"), "'collections OrderedDict.'", False
    ),
    "EXT1": Case(lambda m: b"\x82\xf0" + tuple_of(shell(m)) + b"R", "opcode EXT1"),
    "INST": Case(lambda m: b"(" + shell(m) + b"ios\nsystem\n", "opcode INST"),
    "OBJ": Case(lambda m: b"(" + named("os:system") + shell(m) + b"o", "opcode OBJ"),
    "NEWOBJ_EX": Case(lambda m: call("builtins:tuple", lazily(m)), "opcode NEWOBJ_EX"),
    "__setstate__ of an instance": Case(
        lambda m: set_setstate(call("types:SimpleNamespace"), m), "types.SimpleNamespace"
    ),
    "__setstate__ of a known class": Case(
        lambda m: set_setstate(EASY + b")\x81", m, slots=True), "posix.system"
    ),
    "state of a known object": Case(
        lambda m: state_of(EASY + b")\x81", text("a") + b"N"), "sets the state of a dict", False
    ),
    "state of a known class": Case(
        lambda m: state_of(EASY, text("a") + b"N", True), "sets the state of a function", False
    ),
    "calling a text": Case(lambda m: text("os.system") + b")R", "calls 'os.system' with", False),
    "calling a result": Case(lambda m: EASY + b")\x81)R", "calls a dict with", False),
    "PERSID": Case(lambda m: b"Pos.system\n", "opcode PERSID", False),
    "BINPERSID": Case(lambda m: text("os.system") + b"Q", "BINPERSID", False),
    "in the bytes of a storage": Case(
        lambda m: storage(torch_file(command(m))), "a storage of the checkpoint names 'os.system'"
    ),
    "numpy objects": Case(
        lambda m: call("numpy:dtype", text("O8"), b"\x89", b"\x88"), "numpy.dtype with 'O8'", False
    ),
    "a class of ours": Case(
        lambda m: call("fmri_utils.lafite.released.records:read_storage", b"N"),
        "fmri_utils.lafite.released.records",
        False,
    ),
    "a name without end": Case(
        lambda m: call(f"os:{'x' * 5000}"), "'os." + 77 * "x" + "'...", False
    ),
}
