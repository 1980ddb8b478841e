"""The table of services: each declared once, with its port, what it needs, how it starts and when it is ready."""

import signal
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from jobs.settings import Settings
from jobs.stack import broker, engine, objects, online, orchestrator, pages, postgres, tracking_server
from jobs.stack.launch import Launch


class UnknownServiceError(ValueError):
    """The named service is not in the table."""


@dataclass(frozen=True)
class Service:
    """One supervised process."""

    name: str
    summary: str
    prepare: Callable[[Settings], Launch]
    ready: Callable[[Settings], bool]
    ports: tuple[str, ...] = ()
    """Settings that hold its ports; the first is the one people use."""
    needs: tuple[str, ...] = ()
    """Services that must be ready before it starts."""
    after_start: Callable[[Settings], object] | None = None
    """Run by `up` once it is ready: idempotent, creates what lives inside it."""
    stop_signal: str = "TERM"
    stop_group: bool = True
    """Whether its whole process group gets the stop signal (the kill signal always goes to the group)."""
    stop_seconds: int = 20

    @property
    def signal(self) -> signal.Signals:
        """The stop signal."""
        return signal.Signals[f"SIG{self.stop_signal}"]


def tcp_open(host: str, port: int, seconds: float = 1) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return True
    except OSError:
        return False


def http_answers(url: str, *, any_status: bool = False) -> bool:
    """Whether a URL answers with success, or at all."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=5):
            return True
    except HTTPError:
        return any_status
    except (URLError, OSError, ValueError):
        return False


SERVICES: tuple[Service, ...] = (
    Service(
        "postgres",
        "metadata of Airflow and MLflow, the shop's database",
        postgres.prepare,
        postgres.answers,
        ports=("port_postgres",),
        after_start=postgres.ensure_databases,
        # Fast shutdown; only the server gets it, its processes would take it for "cancel the query".
        stop_signal="INT",
        stop_group=False,
    ),
    Service(
        "kafka",
        "event topics",
        broker.prepare,
        lambda config: tcp_open(config.host, config.port_kafka),
        ports=("port_kafka", "port_kafka_controller"),
        after_start=broker.ensure_topics,
    ),
    Service("redis", "releases, live counters, rate limits", online.prepare, online.answers, ports=("port_redis",)),
    Service(
        "objectstore",
        "dumps and artefacts (S3 protocol)",
        objects.prepare,
        lambda config: http_answers(config.s3_url, any_status=True),
        ports=("port_objectstore",),
        stop_seconds=10,
    ),
    Service(
        "spark",
        "the warm engine (Spark Connect)",
        engine.prepare,
        lambda config: tcp_open(config.host, config.port_spark),
        ports=("port_spark",),
    ),
    Service(
        "mlflow",
        "runs and the model registry",
        tracking_server.prepare,
        lambda config: http_answers(f"{config.mlflow_url}/health"),
        ports=("port_mlflow",),
        needs=("postgres", "objectstore"),
        stop_seconds=10,
    ),
    Service(
        "airflow-api",
        "Airflow's UI and API",
        orchestrator.prepare_api,
        lambda config: orchestrator.component_is_healthy(config, "metadatabase"),
        ports=("port_airflow",),
        needs=("postgres",),
        after_start=orchestrator.ensure_pool,
        stop_seconds=10,
    ),
    Service(
        "airflow-scheduler",
        "runs the DAGs' tasks",
        orchestrator.prepare_scheduler,
        lambda config: orchestrator.component_is_healthy(config, "scheduler"),
        needs=("postgres",),
        stop_seconds=30,
    ),
    Service(
        "airflow-dags",
        "reads the DAG files",
        orchestrator.prepare_dags,
        lambda config: orchestrator.component_is_healthy(config, "dag_processor"),
        needs=("postgres",),
        stop_seconds=10,
    ),
    Service(
        "docs",
        "Data Docs; keeps the logs short",
        pages.prepare_docs,
        lambda config: http_answers(f"http://{config.host}:{config.port_docs}/"),
        ports=("port_docs",),
        stop_seconds=5,
    ),
    Service(
        "api",
        "the serving API",
        pages.prepare_api,
        lambda config: http_answers(f"{config.api_base_url}/health/live"),
        ports=("port_api",),
        needs=("redis",),
        stop_seconds=10,
    ),
)


def service(name: str) -> Service:
    """Look a service up.

    Raises:
        UnknownServiceError: naming the services that exist.
    """
    for candidate in SERVICES:
        if candidate.name == name:
            return candidate
    known = ", ".join(candidate.name for candidate in SERVICES)
    raise UnknownServiceError(f"service must be one of {{{known}}}, got {name!r}")


def select(names: Iterable[str]) -> list[Service]:
    """The named services with everything they need, in the table's order; no names: all of them."""
    wanted: set[str] = set()
    pending = list(names) or [candidate.name for candidate in SERVICES]
    while pending:
        name = pending.pop()
        if name not in wanted:
            wanted.add(name)
            pending += service(name).needs
    return [candidate for candidate in SERVICES if candidate.name in wanted]
