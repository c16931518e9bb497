"""A real SLURM of one node on this machine, from Debian's munge, slurmctld, slurmd and slurm-client; it needs root.

``python tests/helpers/slurm_at_hand.py`` keeps it up until interrupted, and prints what makes ``sbatch`` use it.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

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
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
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
    """What is missing for a SLURM on this machine, or None."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program, path=path)]
    if missing:
        return f"not installed: {' '.join(missing)} (Debian packages)"
    return "a SLURM of one's own needs root" if os.geteuid() else None


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def running(*command: str, environment: dict) -> Iterator[None]:
    """A daemon in the foreground, stopped at the end, by SIGKILL if it does not hear."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def slurm(command: str, *arguments: str, environment: dict) -> str:
    """What a command of SLURM prints, "" where it fails."""
    return subprocess.run([command, *arguments], env=environment, capture_output=True, text=True).stdout


@contextmanager
def one_node(seconds: float = 60) -> Iterator[Path]:
    """A SLURM with one node of two processors, two jobs beside each other; yields the path of its slurm.conf.

    Everything lies in a folder of its own below /tmp. At the end jobs are cancelled, daemons stopped, the folder deleted.
    Raises ``RuntimeError`` with the daemons' logs where the node is not idle in time.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    host = socket.gethostname().partition(".")[0]
    controller, node = free_ports(2)
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
            wait_until(lambda: (folder / "munge.socket").exists(), seconds, folder)
            stack.enter_context(running("slurmctld", "-D", environment=environment))
            stack.enter_context(running("slurmd", "-D", "-N", host, environment=environment))
            wait_until(lambda: slurm("sinfo", "-h", "-o", "%t", environment=environment).strip() == "idle", seconds, folder)
            stack.callback(end_jobs, environment)
            yield folder / "slurm.conf"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_until(true, seconds: float, folder: Path) -> None:
    """RuntimeError with the daemons' logs when ``true()`` is not so in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            logs = [f"{log.name}: {line}" for log in folder.glob("*.log") for line in log.read_text().splitlines()[-8:]]
            raise RuntimeError("\n".join(["SLURM does not come up", *logs]))
        time.sleep(0.2)


def end_jobs(environment: dict) -> None:
    """Cancel what runs and wait for its end, at most 20 s."""
    slurm("scancel", "--user=root", environment=environment)
    end = time.monotonic() + 20
    while slurm("squeue", "-h", environment=environment).strip() and time.monotonic() < end:
        time.sleep(0.2)


def main() -> None:
    if reason := why_not():
        sys.exit(reason)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with one_node() as configuration:
        print(f"export SLURM_CONF={configuration}", flush=True)
        print("one node of SLURM is up until this is interrupted (Ctrl-C)", file=sys.stderr)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("stopping", file=sys.stderr)


if __name__ == "__main__":
    main()
