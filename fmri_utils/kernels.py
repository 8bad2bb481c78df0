"""A kernel manager that always starts this interpreter.

Installed kernelspecs are ignored: a stray "python3" spec of another environment cannot run the
notebooks, and sockets instead of TCP ports let several runs share a machine.
"""

import sys

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager


class IpcKernelManager(AsyncKernelManager):
    """Start ``sys.executable -m ipykernel_launcher`` over ipc sockets."""

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "transport": "ipc"})

    @property
    def kernel_spec(self) -> KernelSpec:
        """The one kernel there is."""
        # Being shut down interrupts a kernel, which it would report as an error: log level 50.
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        argv += ["--log-level=50"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")
