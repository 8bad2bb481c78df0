"""What ``make`` calls: run the notebooks, check and compare runs, download, study, sweep."""

from pydantic import Field


def setting(default: object, text: str, **limits: object) -> Field:
    """A setting of a command line: its default, what is said of it to people, its limits."""
    said = f"{text} ({default} by default)" if default else text
    return Field(default, description=said, validate_default=True, **limits)
