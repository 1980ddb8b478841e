"""A small Spark cluster on this machine: a standalone master and workers of one core each, from pyspark's own jars.

`python -m jobs.stack cluster` runs one in the foreground for an engine with `SLUICE_SPARK_MASTER=spark://…`; a program
gets one with an engine of its own from `running_cluster(…, with_engine=True)`. Everything binds loopback and
authenticates with the stack's secret.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from jobs.settings import ROOT, Settings
from jobs.stack import engine, jars
from jobs.stack.credentials import ensure_secrets, write_private
from jobs.stack.environment import job_environment
from jobs.stack.java import find_java, java_home
from jobs.stack.launch import Launch, jvm, private_folder, temporary_folder
from jobs.stack.services import tcp_open

MASTER = "org.apache.spark.deploy.master.Master"
WORKER = "org.apache.spark.deploy.worker.Worker"
READY_SECONDS = 900
_STOP_SECONDS = 15


class ClusterError(RuntimeError):
    """The cluster did not come up; the message names the process and its log."""


@dataclass
class Cluster:
    """Running processes by name: `master`, `worker-1`…, and `engine` when one was asked for."""

    config: Settings
    members: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """What an engine's SLUICE_SPARK_MASTER is."""
        return master_url(self.config)

    def log(self, name: str) -> Path:
        """The log of a member."""
        return self.config.home.resolve() / "logs" / f"cluster-{name}.log"

    def start(self, name: str, launch: Launch) -> None:
        """Start a member with an environment of its own."""
        environment = job_environment(self.config) | launch.environment
        with self.log(name).open("wb") as output:
            self.members[name] = subprocess.Popen(
                launch.command, env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )

    def wait_for(self, name: str, port: int) -> None:
        """Wait until a member listens.

        Raises:
            ClusterError: it ended, or the time is up.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not tcp_open(self.config.host, port):
            ended = self.members[name].poll()
            if ended is not None or time.monotonic() > deadline:
                last = self.log(name).read_text(errors="replace")[-600:]
                why = f"ended with {ended}" if ended is not None else f"did not listen on {port} in {READY_SECONDS} s"
                raise ClusterError(f"{name} of the cluster {why}; {self.log(name)} ends with: {last}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End the members that this object started, the engine first."""
        for name in reversed(list(self.members)):
            process = self.members[name]
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
            if process.poll() is None:
                process.kill()
                process.wait()
        self.members.clear()


def master_url(config: Settings) -> str:
    """Address of the cluster that these settings describe."""
    return f"spark://{config.host}:{config.port_spark_master}"


def _launch(config: Settings, name: str, main_class: str, *arguments: str) -> Launch:
    """A daemon of the cluster: small heap, the stack's jars, the shared secret in a file of the owner."""
    import pyspark

    home = config.home.resolve()
    temporary = temporary_folder(home, f"cluster-{name}")
    properties = home / "run" / f"cluster-{name}.properties"
    lines = [*engine.authentication(config), "spark.master.rest.enabled false", "spark.ui.killEnabled false"]
    write_private(properties, "\n".join(lines) + "\n")
    machine = jvm(find_java(config).path, temporary, "256m", engine.class_path(config), *engine.JVM_OPTIONS)
    where = ("--host", config.host, "--properties-file", str(properties), "--webui-port", "0")
    environment = {
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "SPARK_LOCAL_IP": config.host,  # the web pages bind it too
        "SPARK_LOCAL_DIRS": str(private_folder(temporary / "local")),
        # Executors are started through Spark's own launcher: it wants the Scala version that its scripts would have
        # found, and asks for a module that the wheel's Java lacks.
        "SPARK_SCALA_VERSION": "2.13",
        "JAVA_HOME": str(java_home(config)),
    }
    return Launch([*machine, main_class, *where, *arguments], environment)


@contextmanager
def running_cluster(
    config: Settings, *, workers: int = 2, worker_memory: str = "2g", with_engine: bool = False
) -> Iterator[Cluster]:
    """A master, `workers` workers of one core, and on request an engine that uses them; all end with the block.

    Raises:
        ClusterError: a member did not come up.
        JarError: jars are missing.
    """
    if not jars.in_place(config):
        raise jars.JarError("the JVM jars are not in place: run `make setup`")
    for name in ("logs", "run"):
        private_folder(config.home.resolve() / name)
    ensure_secrets(config)
    cluster = Cluster(Settings.model_validate({**config.model_dump(), "spark_master": master_url(config)}))
    try:
        cluster.start("master", _launch(config, "master", MASTER, "--port", str(config.port_spark_master)))
        cluster.wait_for("master", config.port_spark_master)
        for number in range(1, workers + 1):
            name = f"worker-{number}"
            work = private_folder(config.home.resolve() / "run" / name)
            size = ("--cores", "1", "--memory", worker_memory, "--work-dir", str(work))
            cluster.start(name, _launch(config, name, WORKER, *size, cluster.url))
        if with_engine:
            cluster.start("engine", engine.prepare(cluster.config))
            cluster.wait_for("engine", config.port_spark)
        yield cluster
    finally:
        cluster.stop()
