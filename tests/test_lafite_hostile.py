"""Files made to do harm, disguised as released checkpoints: each is refused and has no effect.

The same files go to Python's own unpickler in another process, which shows that the effects are
real: that nothing happened proves little if nothing could.
"""

import copyreg
import gc
import io
import os
import subprocess
import sys

import lafite_pickles as form
import pytest
import torch
from hostile_pickles import CASES, command
from lafite_fixture import official_pickle, persistent, storage_bytes, storage_of, view, write
from lafite_pickles import named, text, whole

from fmri_utils.lafite.released.convert import import_official
from fmri_utils.lafite.released.inert_pickle import MAX_OPCODES, read_inert
from fmri_utils.lafite.released.reader import read_official_pickle
from fmri_utils.project.errors import WeightsError

TRAP = text("replace this")


@pytest.fixture(scope="module")
def checkpoint():
    """A whole small checkpoint with a text where hostile opcodes can be put."""
    members = {"weight": torch.nn.Parameter(torch.ones(3, 2)), "fc.bias": torch.ones(4)}
    network = form.module("Generator", "pass", members, trap="replace this")
    with pytest.MonkeyPatch.context() as patch:
        data = official_pickle(patch, {"G_ema": network}, 3)
    assert data.count(TRAP) == 1
    return data


@pytest.fixture(autouse=True)
def extension():
    """A registered extension code, so that the opcodes EXT would have something to reach."""
    copyreg.add_extension("os", "popen", 0xF0)
    yield
    copyreg.remove_extension("os", "popen", 0xF0)


def refusal(path):
    """The error's text; nothing may have been imported."""
    before = set(sys.modules)
    with pytest.raises(WeightsError) as caught:
        read_official_pickle(path)
    assert set(sys.modules) == before
    return str(caught.value)


@pytest.mark.parametrize("name", CASES)
def test_hostile_files_are_refused_by_name_and_do_nothing(name, checkpoint, tmp_path):
    case, mark = CASES[name], tmp_path / "mark"
    expression = case.make(mark)
    # Alone, and deep in the state of an otherwise faultless network.
    for data in (whole(expression, case.protocol), checkpoint.replace(TRAP, expression)):
        path = write(tmp_path, data)
        message = refusal(path)
        assert case.told in message
        assert len(message) < 1000 and "\n" not in message
    with pytest.raises(WeightsError):
        import_official(path, tmp_path / "out.safetensors")
    assert not mark.exists()
    assert not (tmp_path / "out.safetensors").exists()


def with_source(mark):
    """A faultless checkpoint whose embedded source makes a file."""
    network = form.module("Generator", f"open({str(mark)!r}, 'w')", {"bias": torch.ones(4)})
    with pytest.MonkeyPatch.context() as patch:
        return official_pickle(patch, {"G_ema": network})


def test_the_plain_unpickler_obeys_all_of_them(checkpoint, tmp_path):
    files, marks = tmp_path / "files", tmp_path / "marks"
    files.mkdir(), marks.mkdir()
    expected = {"hidden", "source"}
    for i, (name, case) in enumerate(CASES.items()):
        if case.obeyed:
            hostile = whole(case.make(marks / f"{i:02d}"), case.protocol)
            (files / name).write_bytes(hostile)
            expected.add(f"{i:02d}")
    assert len(expected) > 10
    hidden = checkpoint.replace(TRAP, command(marks / "hidden"))
    (files / "hidden in a checkpoint").write_bytes(hidden)
    (files / "source").write_bytes(with_source(marks / "source"))
    quietly = {"env": os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, "capture_output": True}
    command_line = [sys.executable, form.__file__, str(files)]
    done = subprocess.run(command_line, **quietly, text=True, check=True)
    assert expected <= {path.name for path in marks.iterdir()}, done.stdout


def test_the_embedded_source_is_never_run(tmp_path):
    mark = tmp_path / "mark"
    path = write(tmp_path, with_source(mark))
    assert torch.equal(read_official_pickle(path)["G_ema"]["bias"], torch.ones(4))
    assert not mark.exists()


# -- too much of something -----------------------------------------------------------------------


def doubled(first, again, n):
    """An expression that holds the one before twice, n times over: 2^n paths, n objects."""
    out = first
    for i in range(n):
        out += b"r" + (1000 + i).to_bytes(4, "little")
        recalled = b"j" + (1000 + i).to_bytes(4, "little")
        out = again(out, recalled)
    return out


def module_of_two(inner, recalled):
    members = text("a") + inner + text("b") + recalled
    return persistent(modules=members, name=None)


def nested_objects(n):
    before, after = persistent(modules=text("a") + b"?", name=None).split(b"?")
    return before * n + persistent(name=None) + after * n


def deep(n):
    return b")" + b"\x85" * n


def one_storage_often():
    """Tensors that each take all of one storage."""
    first = storage_of(storage_bytes(torch.zeros(10_000))) + b"q\xf0"
    views = [view(first if i == 0 else b"h\xf0", 0, (10_000,), (1,)) for i in range(300)]
    return b"".join(text(f"w{i}") + item for i, item in enumerate(views))


def entries(n, between):
    return b"".join(b"J" + i.to_bytes(4, "little") + between for i in range(n))


BOMBS = {
    "lists in lists": (doubled(b"]", lambda x, y: b"](" + x + y + b"e", 60), "holds a list"),
    "modules in modules": (
        b"}" + text("G") + doubled(persistent(name=None), module_of_two, 15) + b"s",
        "more than 5000 modules",
    ),
    "modules without end": (b"}" + text("G") + nested_objects(30) + b"s", "16 levels"),
    "a deep key": (b"}" + deep(50_000) + b"Ns", "key that is a tuple"),
    "a deep argument": (named("builtins:set") + b"]" + deep(50_000) + b"a\x85R", "builtins.set"),
    "a deep state": (
        named("torch_utils.persistence:_reconstruct_persistent_obj") + deep(50_000) + b"R",
        "describes a class",
    ),
    "objects in objects": (nested_objects(5_000), "holds a PersistentObject"),
    "a number that collides": (
        b"}\x8a\x08" + (2**61 - 1).to_bytes(8, "little") + b"Ns",
        "key that is a int; expected texts and small integers",
    ),
    "a wide dictionary": (b"}(" + entries(10_001, b"N") + b"u", "10000 entries"),
    "a wide set": (b"\x8f(" + entries(10_001, b"") + b"\x90", "10000 entries"),
    "a memo index of gigabytes": (b"]r\xff\xff\xff\x7f", "holds a list"),
    "bytes that are not there": (b"\x8e" + (2**60).to_bytes(8, "little") + b"abc", "truncated"),
    "a text that is not there": (b"X\xff\xff\xff\x7fabc", "truncated"),
    "a long number": (b"\x8b\x40\x42\x0f\x00" + b"\x7f" * 1_000_000, "opcode LONG4"),
    "a long number in digits": (b"L" + b"9" * 1_000_000 + b"L\n", "damaged"),
    "one storage, often": (persistent(parameters=one_storage_often()), "over 4 times as large"),
    "too many members": (
        persistent(parameters=b"".join(text(f"w{i}") + b"N" for i in range(1001))),
        "dictionary of at most 1000",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(name, tmp_path):
    expression, told = BOMBS[name]
    assert told in refusal(write(tmp_path, whole(expression)))
    gc.collect()


def test_the_number_of_opcodes_is_bounded():
    with pytest.raises(WeightsError, match="more than 1000 pickle opcodes"):
        read_inert(io.BytesIO(whole(b")" * 1000)), {}, what="a file", max_opcodes=1000)
    assert MAX_OPCODES == 200_000


def test_settings_of_2_to_the_60_paths_are_cut_short(tmp_path):
    inner = doubled(b"}", lambda x, y: b"}(" + text("a") + x + text("b") + y + b"u", 60)
    data = whole(persistent(parameters=text("w") + view(storage_of(), 0, (6,), (1,))))
    place = text("_parameters")
    path = write(tmp_path, data.replace(place, text("_init_kwargs") + inner + place))
    assert read_official_pickle(path)["G_ema"]["w"].tolist() == [0, 1, 2, 3, 4, 5]
