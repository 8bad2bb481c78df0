"""The executed collection as pages that can be read without Python and without a network."""

from .build import build_site, check_executed, write_sources

__all__ = ["build_site", "check_executed", "write_sources"]
