"""Kafka: one KRaft node from jars, topics created explicitly."""

import base64
import os
import subprocess
import uuid
from pathlib import Path

from jobs.settings import ROOT, Settings
from jobs.stack import jars
from jobs.stack.environment import UTF8
from jobs.stack.java import find_java
from jobs.stack.launch import SMALL_SERVER, Launch, jvm, listed_folder, private_folder, render, temporary_folder

EVENT_PARTITIONS = 4
HEAP = "384m"
_KEEP_FOR_EVER = "-1"


class BrokerError(RuntimeError):
    """The broker cannot be prepared or does not take topics."""


def topics(config: Settings) -> dict[str, int]:
    """Topics of the platform and their partitions."""
    return {f"{config.domain}.events": EVENT_PARTITIONS, f"{config.domain}.control": 1}


def _machine(config: Settings) -> list[str]:
    home = config.home.resolve()
    class_path = str(jars.folder(config, "kafka") / "*")
    options = (*SMALL_SERVER, "-Dlog4j2.configurationFile=docker/local/kafka-log4j2.properties")
    return jvm(find_java(config).path, temporary_folder(home, "kafka"), HEAP, class_path, *options)


def _format(config: Settings, properties: Path) -> None:
    """Give the data folder its cluster id; a folder that has one is left alone."""
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    tool = [*_machine(config), "kafka.tools.StorageTool", "format", "--standalone", "--ignore-formatted"]
    answer = subprocess.run(
        [*tool, "-t", cluster, "-c", str(properties)],
        cwd=ROOT, env={**os.environ, **UTF8}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    if answer.returncode != 0:
        raise BrokerError(f"Kafka's data folder could not be formatted: {(answer.stderr + answer.stdout)[-1500:]}")


def prepare(config: Settings) -> Launch:
    """Write the broker's configuration, format its folder on first start."""
    home = config.home.resolve()
    data = private_folder(home / "kafka")
    properties = render(
        "kafka.properties",
        home / "run" / "kafka.properties",
        host=config.host,
        port=config.port_kafka,
        controller_port=config.port_kafka_controller,
        data=listed_folder(data),
    )
    if not (data / "meta.properties").exists():
        _format(config, properties)
    return Launch([*_machine(config), "kafka.Kafka", str(properties)])


def ensure_topics(config: Settings) -> list[str]:
    """Create the topics that do not exist.

    Records carry the time they were appended (event time is in the payload: a broker that took it for its own would
    delete history at once), and they are kept until the state is deleted: a stack that rested for a month must
    still find what it has not landed.

    Returns:
        Names of the topics created.
    """
    from kafka.admin import KafkaAdminClient, NewTopic

    admin = KafkaAdminClient(bootstrap_servers=config.kafka_servers, client_id="sluice-stack")
    try:
        there = set(admin.list_topics())
        missing = {name: partitions for name, partitions in topics(config).items() if name not in there}
        if missing:
            settings = {"message.timestamp.type": "LogAppendTime", "retention.ms": _KEEP_FOR_EVER}
            admin.create_topics([NewTopic(name, count, 1, topic_configs=settings) for name, count in missing.items()])
        return sorted(missing)
    finally:
        admin.close()
