"""A kernel manager that always starts this interpreter, and kernels that end with their run.

Installed kernelspecs are ignored: a stray "python3" spec of another environment cannot run the
notebooks, and sockets instead of TCP ports let several runs share a machine.
"""

import ctypes
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

PR_SET_PDEATHSIG = 1  # linux/prctl.h
LONGEST_FOLDER = 65  # bytes: a socket's whole path has at most 103 (macOS) or 107 (Linux)


class IpcKernelManager(AsyncKernelManager):
    """Start ``sys.executable -m pipeline.kernels`` over ipc sockets."""

    def __init__(self, **kwargs):
        # In a folder of their own: by default sockets lie in the working directory, where a killed
        # kernel leaves them and two runs at once may take each other's.
        where = tempfile.gettempdir()
        where = where if len(os.fsencode(where)) <= LONGEST_FOLDER else "/tmp"
        folder = Path(tempfile.mkdtemp(prefix="fmri-kernel-", dir=where))
        super().__init__(**{**kwargs, "transport": "ipc", "ip": str(folder / "socket")})
        self.connection_file = str(folder / "kernel.json")

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw) -> None:
        # The kernel inherits the lock of its notebook, so that a run is over when both have ended.
        await super()._async_launch_kernel(kernel_cmd, close_fds=False, **kw)

    async def _async_cleanup_resources(self, restart: bool = False) -> None:
        await super()._async_cleanup_resources(restart)
        if not restart:
            shutil.rmtree(Path(self.ip).parent, ignore_errors=True)

    cleanup_resources = _async_cleanup_resources

    @property
    def kernel_spec(self) -> KernelSpec:
        """The one kernel there is."""
        # Being shut down interrupts a kernel, which it would report as an error: log level 50.
        argv = [sys.executable, "-m", "pipeline.kernels", "-f", "{connection_file}"]
        argv += ["--log-level=50"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


def end_with(parent: int) -> None:
    """Let this process be killed as soon as its parent is.

    A kernel looks once a second whether its parent is still there, by default; it would write on
    for that long beside a resumed run, and a parent killed while the kernel starts is not missed
    at all where orphans are given to another process than the first. Linux does it at once; other
    systems keep the default.

    Parameters
    ----------
    parent : int
        Process that started this one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _be_nobodys() -> None:
    """Leave out what a person has set for other work: plots elsewhere, other styles, own startup.

    With ``MPLBACKEND=Agg`` in the environment a whole run would end well without one picture.
    """
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    os.environ["MATPLOTLIBRC"] = os.devnull  # which leaves matplotlib's own settings
    os.environ["IPYTHONDIR"] = str(Path(sys.argv[sys.argv.index("-f") + 1]).parent / "ipython")
    os.environ.pop("PYTHONSTARTUP", None)


def main() -> None:
    """Be a kernel; what ``python -m ipykernel_launcher`` does, for no longer than the run."""
    end_with(int(os.environ["JPY_PARENT_PID"]))
    _be_nobodys()
    # Waiting threads sleep: beside other work a notebook would take four times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()


if __name__ == "__main__":
    main()
