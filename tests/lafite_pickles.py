"""Pickles in the form of released LAFITE checkpoints, and the opcodes of hostile ones.

Also run as a script, ``python lafite_pickles.py FOLDER``: unpickles every file of a folder with
Python's own unpickler, as an unwary tool would, to show what the hostile ones do.
"""

import contextlib
import os
import pickle
import sys
import types
from pathlib import Path

PROTOCOLS = (3, 4)  # Python 3.7 wrote 3 by default, later ones 4


class EasyDict(dict):
    """Pickled under the name dnnlib.util.EasyDict."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def _reconstruct_persistent_obj(meta):
    """What the original does with the embedded source, in one line."""
    exec(meta["module_src"], {})


def stand_ins():
    """Modules that make pickle write (and an unwary reader find) the official names."""
    names = ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util")
    modules = {name: types.ModuleType(name) for name in names}
    for name, value in zip(names[1::2], (_reconstruct_persistent_obj, EasyDict), strict=True):
        value.__module__ = name
        setattr(modules[name], value.__name__, value)
    return modules


class Persistent:
    """An object that pickles as the originals do: class name, source code, state."""

    def __init__(self, class_name, source, state):
        self.meta = {"type": "class", "version": 6, "module_src": source}
        self.meta |= {"class_name": class_name, "state": state}

    def __reduce__(self):
        return _reconstruct_persistent_obj, (self.meta,)


def module(class_name, source, members, **attributes):
    """A torch module's state from flat names; dots make modules within modules.

    Tensors are given ready to pickle (parameters as nn.Parameter, buffers as tensors).
    """
    from collections import OrderedDict

    import torch

    inner = {}
    state = {"training": False, "_parameters": OrderedDict(), "_buffers": OrderedDict()}
    state |= {"_non_persistent_buffers_set": set(), "_backward_hooks": OrderedDict()}
    state |= {"_is_full_backward_hook": None, "_modules": OrderedDict(), **attributes}
    for key, value in members.items():
        first, _, rest = key.partition(".")
        if rest:
            inner.setdefault(first, {})[rest] = value
        else:
            parameter = isinstance(value, torch.nn.Parameter)
            state["_parameters" if parameter else "_buffers"][key] = value
    for name, values in inner.items():
        state["_modules"][name] = module(f"Layer_{name}", source, values)
    return Persistent(class_name, source, state)


# -- opcodes by hand ------------------------------------------------------------------------------


def text(value):
    """BINUNICODE."""
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def blob(value):
    """BINBYTES."""
    return b"B" + len(value).to_bytes(4, "little") + value


def named(path, stacked=False):
    """GLOBAL (or STACK_GLOBAL) of "module:name"."""
    module_name, name = path.split(":")
    if stacked:
        return text(module_name) + text(name) + b"\x93"
    return f"c{module_name}\n{name}\n".encode()


def tuple_of(*parts):
    """MARK ... TUPLE."""
    return b"(" + b"".join(parts) + b"t"


def call(function, *arguments):
    """REDUCE; the function as opcodes or as "module:name"."""
    if isinstance(function, str):
        function = named(function)
    return function + tuple_of(*arguments) + b"R"


def whole(expression, protocol=4):
    """A pickle of one expression."""
    return b"\x80" + bytes([protocol]) + expression + b"."


if __name__ == "__main__":
    sys.modules.update(stand_ins())
    import copyreg

    copyreg.add_extension("os", "popen", 0xF0)
    for path in sorted(Path(sys.argv[1]).iterdir()):
        try:
            pickle.loads(path.read_bytes())
        except Exception as err:  # most of them fail after their effect
            print(path.name, type(err).__name__, str(err)[:200])
    with contextlib.suppress(ChildProcessError):
        while True:  # what was started in the background
            os.waitpid(-1, 0)
