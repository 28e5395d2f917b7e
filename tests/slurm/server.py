"""A real SLURM on this machine alone: munged, slurmctld and slurmd on loopback, in a folder of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
PluginDir={plugins}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,sched_min_interval=100000,batch_sched_delay=0,default_queue_depth=1000
SlurmdParameters=config_overrides
MinJobAge=3600
KillWait=5
ReturnToService=2
MpiDefault=none
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={megabytes} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def why_not() -> str | None:
    """Say why no SLURM can be started here, if so."""
    if os.geteuid() != 0:
        return "a SLURM of its own is started as root only"
    missing = [name for name in DAEMONS if not find(name)]
    if missing:
        return f"{', '.join(missing)} not installed (apt-get install slurm-wlm munge)"
    return None


def find(daemon: str) -> str | None:
    """Find a program that /usr/sbin may hold."""
    return shutil.which(daemon, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


class Slurm:
    """One node with more processors on paper than the machine has, since jobs here ask much and do little.

    Parameters
    ----------
    cpus, megabytes : int
        What the node says it has.
    """

    def __init__(self, cpus: int = 32, megabytes: int = 64_000) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a socket's path is short
        self.folder.chmod(0o755)
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("munge", "state", "spool"):
            (self.folder / name).mkdir(mode=0o755)
        key = self.folder / "munge/key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        host = socket.gethostname().partition(".")[0]
        plugins = next(Path("/usr/lib").rglob("select_cons_tres.so")).parent
        text = CONFIGURATION.format(
            folder=self.folder,
            host=host,
            ports=_free_ports(2),
            plugins=plugins,
            cpus=cpus,
            megabytes=megabytes,
        )
        (self.folder / "slurm.conf").write_text(text)
        # the plugin hides SLURM_CONF from the srun of a job
        srun = self.folder / "bin/srun"
        srun.parent.mkdir()
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)
        self.environment = os.environ | {
            "SLURM_CONF": f"{self.folder}/slurm.conf", "PATH": f"{srun.parent}:{os.environ['PATH']}",
        }  # fmt: skip

    def __enter__(self) -> Self:
        munge = self.folder / "munge"
        files = {
            "socket": "socket",
            "key-file": "key",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        try:
            self.start("munged", "--foreground", *[f"--{k}={munge / v}" for k, v in files.items()])
            self.wait(lambda: (munge / "socket").exists(), "munged")
            self.start("slurmctld", "-D", "-i")
            self.start("slurmd", "-D")
            self.wait(lambda: "idle" in self.run("sinfo", "--noheader", "--format=%T"), "slurmd")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if "slurmctld" in self.daemons:
            self.run("scancel", "--user=root")
        for name in reversed(DAEMONS):
            self.stop(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, name: str, *options: str) -> None:
        """Start a daemon in the foreground."""
        program = find(name)
        assert program
        with (self.folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                [program, *options], env=self.environment, stdout=out, stderr=out, start_new_session=True
            )

    def stop(self, name: str) -> None:
        """End a daemon."""
        daemon = self.daemons.pop(name, None)
        if daemon:
            daemon.terminate()
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def run(self, *command: str) -> str:
        """Run a command of SLURM; return what it prints, nothing where it fails."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True).stdout

    def jobs(self) -> dict[str, tuple[str, str]]:
        """Return state and rule (as the plugin's comment says it) of all jobs that SLURM remembers."""
        lines = self.run("squeue", "--states=all", "--noheader", "--format=%i|%T|%k").splitlines()
        return {number: (state, comment) for number, state, comment in (line.split("|") for line in lines)}

    def wait(self, ready, what: str, seconds: float = 60) -> None:
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                logs = [p.read_text(errors="replace")[-1500:] for p in self.folder.rglob("*.log")]
                logs += [p.read_text(errors="replace")[-500:] for p in self.folder.glob("*.out")]
                raise TimeoutError(f"{what} after {seconds} s\n" + "\n".join(logs))
            time.sleep(0.2)


def _free_ports(n: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports
