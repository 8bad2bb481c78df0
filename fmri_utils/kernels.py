"""A kernel manager that always starts this interpreter.

Installed kernelspecs are ignored: a stray "python3" spec of another environment cannot run the
notebooks, and sockets instead of TCP ports let several runs share a machine.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager


class IpcKernelManager(AsyncKernelManager):
    """Start ``sys.executable -m ipykernel_launcher`` over ipc sockets."""

    def __init__(self, **kwargs):
        # In a folder of their own: by default sockets lie in the working directory, where a killed
        # kernel leaves them and two runs at once may take each other's.
        folder = tempfile.mkdtemp(prefix="fmri-kernel-")
        super().__init__(**{**kwargs, "transport": "ipc", "ip": str(Path(folder) / "socket")})

    async def _async_cleanup_resources(self, restart: bool = False) -> None:
        await super()._async_cleanup_resources(restart)
        if not restart:
            shutil.rmtree(Path(self.ip).parent, ignore_errors=True)

    cleanup_resources = _async_cleanup_resources

    @property
    def kernel_spec(self) -> KernelSpec:
        """The one kernel there is."""
        # Being shut down interrupts a kernel, which it would report as an error: log level 50.
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        argv += ["--log-level=50"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")
