"""What is refused, in one line."""

import pytest

from fmri_utils.project.errors import DataError


def refused(message, function, *arguments, error=DataError, **named):
    """Assert that a call ends in an error whose text matches."""
    with pytest.raises(error, match=message):
        function(*arguments, **named)
