"""A real SLURM of one node on this machine, from Debian's munge, slurmctld, slurmd and slurm-client; it needs root."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from helpers.runner_at_hand import until

PROGRAMS = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client"}
CONFIGURATION = """\
ClusterName=athand
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Say what is missing for a SLURM on this machine, or None."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program, path=path)]
    if missing:
        return f"not installed: {' '.join(missing)} (Debian packages)"
    return "a SLURM of one's own needs root" if os.geteuid() else None


def free_ports() -> tuple[int, int]:
    """Return two ports that nobody listens on now."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@contextmanager
def running(*command: str, environment: dict) -> Iterator[None]:
    """A daemon in the foreground, stopped at the end."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def slurm(*command: str, environment: dict) -> str:
    """Return what a command of SLURM prints, "" where it fails."""
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip()


@contextmanager
def one_node() -> Iterator[Path]:
    """Bring up a SLURM with one node of two processors in a folder below /tmp, and take it down; yield its slurm.conf."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    host = socket.gethostname().partition(".")[0]
    controller, node = free_ports()
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    (folder / "slurm.conf").write_text(CONFIGURATION.format(host=host, folder=folder, controller=controller, node=node))
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    environment = os.environ | {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket",
              f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"]
    try:
        with ExitStack() as stack:
            stack.enter_context(running(*munged, environment=environment))
            until(lambda: (folder / "munge.socket").exists(), 60)
            stack.enter_context(running("slurmctld", "-D", environment=environment))
            stack.enter_context(running("slurmd", "-D", "-N", host, environment=environment))
            until(lambda: slurm("sinfo", "-h", "-o", "%t", environment=environment) == "idle", 60)
            yield folder / "slurm.conf"
            slurm("scancel", "--user=root", environment=environment)
            until(lambda: not slurm("squeue", "-h", environment=environment), 20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
