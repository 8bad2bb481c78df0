"""The project's own error types.

Each message says what came, what was expected and what to do next. All derive from
:class:`FmriUtilsError`, so that a script can catch everything this package raises on bad input.
"""


class FmriUtilsError(Exception):
    """Base class of every error that this package raises on bad input."""


class ProfileError(FmriUtilsError, ValueError):
    """A profile, an override or a notebook parameter is unknown or out of range."""


class DataError(FmriUtilsError, ValueError):
    """A data file or an array is missing, damaged, or not what was expected."""


class WeightsError(FmriUtilsError, ValueError):
    """A weights file is missing, damaged, or belongs to another architecture."""


class ArtifactError(FmriUtilsError, ValueError):
    """A file that an earlier notebook should have written is missing, stale or damaged."""


class DivergedError(FmriUtilsError, FloatingPointError):
    """A training or a search came to numbers that are not finite."""
