"""The engine's configuration: tasks in its own process by default, on a cluster by one setting."""

from pathlib import Path

import pytest

from jobs.settings import Settings
from jobs.stack import engine
from jobs.stack.credentials import ensure_secrets


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.stack.java import Java

    monkeypatch.setattr(engine, "find_java", lambda _: Java(tmp_path / "java", 17, "PATH"))


def properties(config: Settings) -> dict[str, str]:
    command = engine.prepare(config).command
    text = Path(command[command.index("--properties-file") + 1]).read_text()
    lines = (line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {line[0]: line[-1] for line in lines}


@pytest.mark.usefixtures("java")
def test_by_default_tasks_run_in_the_engine(tmp_path: Path) -> None:
    found = properties(Settings(home=tmp_path, spark_cores=3))
    assert found["spark.master"] == "local[3]"
    assert not any(name.startswith(("spark.executorEnv", "spark.authenticate")) for name in found)
    assert not {"spark.executor.cores", "spark.executor.memory", "spark.executor.extraClassPath"} & set(found)


@pytest.mark.usefixtures("java")
def test_a_master_in_the_settings_brings_executors_of_one_core_with_the_jars_and_the_secret(tmp_path: Path) -> None:
    config = Settings(home=tmp_path, spark_master="spark://127.0.0.1:17077", spark_executor_memory="700m")
    ensure_secrets(config)
    found = properties(config)
    assert found["spark.master"] == "spark://127.0.0.1:17077"
    assert (found["spark.executor.cores"], found["spark.executor.memory"]) == ("1", "700m")
    assert found["spark.executor.extraClassPath"] == f"{tmp_path}/lib/spark/*"
    assert found["spark.executorEnv.PYSPARK_PYTHON"]
    assert found["spark.authenticate.secret"] == (tmp_path / "secrets" / "sluice_spark_secret").read_text().strip()
    assert (tmp_path / "run" / "spark.properties").stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("java")
def test_other_cluster_managers_bring_their_own_secrets(tmp_path: Path) -> None:
    found = properties(Settings(home=tmp_path, spark_master="k8s://https://example"))
    assert "spark.executor.memory" in found
    assert "spark.authenticate" not in found
