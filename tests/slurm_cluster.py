"""A real Slurm of two nodes on one host, in a folder of its own: munge, controller, two daemons.

Needs root and Debian's packages slurm-wlm and munge. Every process that it starts it also ends.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
NODES = ("node1", "node2")
SYSTEM_CONF = Path("/etc/slurm/slurm.conf")

CONF = """ClusterName=two
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout=30
GresTypes=gpu
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus} RealMemory=4000 Gres=gpu:2
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cpus} RealMemory=4000 Gres=gpu:2
PartitionName=all Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
"""  # noqa: E501


def missing_programs():
    """What has to be installed first; and this machine must not have a cluster of its own."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    return lacking + ([str(SYSTEM_CONF)] if os.path.lexists(SYSTEM_CONF) else [])


def free_ports(n):
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Slurm:
    """The running cluster.

    Parameters
    ----------
    folder : pathlib.Path
        For configuration, state, keys and logs.
    cpus : int
        That each node says it has; they are the same ones of this host.
    """

    def __init__(self, folder: Path, cpus: int = os.cpu_count()):
        self.folder = folder
        host = socket.gethostname().partition(".")[0]
        (folder / "munge").mkdir(parents=True)
        (folder / "state").mkdir()
        for node in NODES:
            (folder / node).mkdir()
            for number in range(2):
                (folder / f"gpu-{node}-{number}").touch()
        text = CONF.format(host=host, ports=free_ports(3), folder=folder, cpus=cpus)
        (folder / "slurm.conf").write_text(text)
        gres = [f"NodeName={n} Name=gpu File={folder}/gpu-{n}-[0-1]\n" for n in NODES]
        (folder / "gres.conf").write_text("".join(gres))
        self.env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self.processes = {}

    def __enter__(self):
        SYSTEM_CONF.parent.mkdir(parents=True, exist_ok=True)
        SYSTEM_CONF.symlink_to(self.folder / "slurm.conf")  # steps of jobs look only there
        munge = self.folder / "munge"
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o400)
        options = [f"--{name}-file={munge / name}" for name in ("key", "pid", "log", "seed")]
        self._start("munged", "--foreground", f"--socket={munge / 'socket'}", *options)
        self._wait((munge / "socket").exists, "munge's socket")
        self._start("slurmctld", "-D")
        for node in NODES:
            self._start("slurmd", "-D", "-N", node, name=node)
        self._wait(lambda: self.call("sinfo", "-h", "-o", "%T").split() == ["idle"], "the nodes")
        return self

    def __exit__(self, *_):
        SYSTEM_CONF.unlink()
        with contextlib.suppress(subprocess.CalledProcessError):
            self.call("scancel", "--user=root")
            self._wait(lambda: not self.jobs(), "the last jobs")
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            process.wait(20)

    def notebooks(self):
        """Processes of the jobs that run a notebook."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                of_a_job = "SLURMD_NODENAME" in process.environ()
                if of_a_job and "pipeline.execute" in process.cmdline():
                    yield process

    def call(self, *command):
        """Run one of Slurm's programs; returns what it says."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=True)
        return done.stdout

    def jobs(self):
        """Running jobs: id to node."""
        lines = self.call("squeue", "-h", "-t", "R", "-o", "%i %N").splitlines()
        return dict(line.split() for line in lines)

    def _start(self, *command, name=""):
        with open(self.folder / f"{name or command[0]}.out", "ab") as log:
            self.processes[name or command[0]] = subprocess.Popen(
                command, env=self.env, stdout=log, stderr=log, start_new_session=True
            )

    def _wait(self, ready, what, seconds=60):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(subprocess.CalledProcessError):
                if ready():
                    return
            time.sleep(0.5)
        raise TimeoutError(f"Slurm: {what} did not come within {seconds} s; logs in {self.folder}")
