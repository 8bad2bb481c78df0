"""Malformed input by the hundred: every case must be refused by the project's own errors.

The cases are drawn by hypothesis, always the same ones, and counted: a case that is accepted in
silence fails the test, and so does any other exception, whatever library it comes from, and a
message that does not say what to do.
"""

import contextlib
import re

from hypothesis import HealthCheck, Phase, given, settings

from fmri_utils.project.errors import FmriUtilsError

# How many different malformed cases each test refuses at least.
COUNTS = {f"profiles: {name}": 40 for name in ("ranges", "unknown", "files")}
COUNTS |= {"profiles: types": 60, "profiles: settings": 18}
COUNTS |= {"nsd: damages": 90, "nsd: flips": 50, "nsd: wrong": 60}
COUNTS |= {"weights: damages": 60, "weights: headers": 60, "weights: flips": 40}
COUNTS |= {"weights: clip": 12, "weights: training": 12}
NEXT_STEP = re.compile(
    r"expected|valid|fetch|delete|restore|run |use |ask |check |choose|give |read |leave |unpack "
    r"|take |do not open ",
    re.I,
)


class HarmlessError(Exception):
    """The damage changed nothing: what was read is what the whole file holds. Not counted."""


def refuse_all(test, strategy, attempt, *, more=0):
    """Try drawn cases, ``more`` than must be refused; COUNTS says how many different ones must.

    ``attempt(case)`` reads what is malformed. It raises HarmlessError where a random damage
    happens to change nothing.
    """
    refused, problems = set(), []

    @settings(
        max_examples=COUNTS[test] + more,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(strategy)
    def check(case):
        shown = f"{case!r}"[:200]
        try:
            found = attempt(case)
            problems.append(f"{shown}: accepted without an error: {found!r}"[:400])
        except FmriUtilsError as err:
            refused.add(f"{case!r}")
            text = str(err)
            if len(text) < 30 or not NEXT_STEP.search(text):
                problems.append(f"{shown}: the message does not say what to do: {text}")
        except HarmlessError:
            pass
        except Exception as err:  # the point of these tests: nothing else may come out
            problems.append(f"{shown}: {type(err).__name__} from the depths: {err}"[:400])

    check()
    assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems[:20])
    assert len(refused) >= COUNTS[test], f"{len(refused)} different cases were refused"


@contextlib.contextmanager
def replaced(path, data):
    """A file with other bytes (None: without the file), as it was afterwards."""
    whole = path.read_bytes() if path.is_file() else None
    path.unlink(missing_ok=True)
    try:
        if data is not None:
            path.write_bytes(data)
        yield path
    finally:
        path.unlink(missing_ok=True)
        if whole is not None:
            path.write_bytes(whole)


def flipped(data, where, bits):
    """Bytes with some bits of one of them flipped; ``where`` is from 0 to 1."""
    position = min(int(where * len(data)), len(data) - 1)
    return data[:position] + bytes([data[position] ^ bits]) + data[position + 1 :]
