"""What a setting may be, and one sentence for whatever is not.

Settings are frozen dataclasses that pydantic checks: no number is made of a text, none of them is
NaN, and no name is taken that is unknown.
"""

import functools
import typing
from collections.abc import Mapping
from typing import Annotated

import pydantic
from pydantic import AfterValidator, Field, Strict

from .errors import FmriUtilsError, ProfileError

CHECKS = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)
COMPLETE = "Expected: every key without a default. Add what is missing."


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected a text in one line")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty; expected a name")
    return text


Flag = Annotated[bool, Strict()]
Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Line = Annotated[str, Strict(), AfterValidator(_one_line)]
Name = Annotated[Line, AfterValidator(_filled)]
Whole = Annotated[Integer, Field(ge=0)]  # 0 has a meaning of its own: none, or all
Count = Annotated[Integer, Field(ge=1)]
Several = Annotated[Integer, Field(ge=2)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Part = Annotated[Number, Field(gt=0, le=1)]
Decay = Annotated[Number, Field(ge=0, lt=1)]
Rate = Annotated[Number, Field(gt=0, lt=1e37)]  # Adam's first step is ten times that, in float32


@typing.dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type) -> type:
    """Make a class a frozen dataclass whose values are checked, by keyword.

    An instance that cannot be is a :class:`ProfileError`, in the words of :func:`checked`.
    """
    made = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=CHECKS)(cls)
    checking = made.__init__

    @functools.wraps(checking)
    def init(self, *args: object, **values: object) -> None:
        try:
            checking(self, *args, **values)
        except pydantic.ValidationError as err:
            raise ProfileError(_explained(err, made, cls.__name__)) from None

    made.__init__ = init
    return made


def checked(
    model: type, raw: Mapping, name: str, error: type[FmriUtilsError] = ProfileError
) -> object:
    """Settings from what a file or a command line gives.

    Parameters
    ----------
    model : type
        Made by :func:`settings`.
    raw : mapping
        As from TOML: numbers, texts, lists and tables.
    name : str
        Of the whole, for the message: "profile 'demo'".
    error : type
        Of the error that is raised.

    Raises
    ------
    FmriUtilsError
        An ``error`` that says what came, what was expected, and which names are valid.
    """
    try:
        return pydantic.TypeAdapter(model).validate_python(raw)
    except pydantic.ValidationError as err:
        raise error(_explained(err, model, name)) from None


def _explained(err: pydantic.ValidationError, model: type, name: str) -> str:
    """The first problem in one sentence; all names that are unknown or missing in one place."""
    problems = err.errors(include_url=False)
    first = problems[0]
    above = first["loc"][:-1]
    same = [str(p["loc"][-1]) for p in problems if p["type"] == first["type"] and p["loc"]]
    section = f"section {above[0]!r}" if above else name
    if first["type"] == "unexpected_keyword_argument":
        valid = sorted(typing.get_type_hints(_section(model, above)))
        return f"unknown key {same} in {section}. Valid keys: {valid}."
    if first["type"] == "missing":
        return f"{section} lacks {same}. {COMPLETE}"
    where = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
    if first["type"] == "value_error":
        return f"{where or name}: {first['ctx']['error']}."
    value, expected = first["input"], first["msg"].removeprefix("Input should be ")
    return f"{where} is {value!r} ({type(value).__name__}). Expected: {expected}."


def _section(model: type, path: tuple) -> type:
    for key in path:
        hint = typing.get_type_hints(model)[key]
        model = next((h for h in typing.get_args(hint) if h is not type(None)), hint)
    return model
