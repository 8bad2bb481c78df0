"""Another job of the engine than a notebook: ``python -m pipeline.job sweep.atlas ...``."""

from __future__ import annotations

import importlib
import os
import sys

from .execute import shared_gpus
from .kernels import end_with


def main(module: str, *arguments: str) -> int:
    """Run a module's ``main`` for no longer than the engine, on GPUs of its own."""
    end_with(os.getppid())
    with shared_gpus():
        return importlib.import_module(f"pipeline.{module}").main(list(arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
