"""Object storage: the S3 protocol on a folder (s3proxy), so that everything speaks boto3 as it would to S3."""

from jobs.settings import Settings
from jobs.stack import jars
from jobs.stack.credentials import secret
from jobs.stack.java import find_java
from jobs.stack.launch import SMALL_SERVER, Launch, jvm, private_folder, render, temporary_folder

HEAP = "256m"


def prepare(config: Settings) -> Launch:
    """Write the configuration (it holds the keys, so it is private) and make the bucket, which is a folder."""
    home = config.home.resolve()
    data = private_folder(home / "objects")
    private_folder(data / config.s3_bucket)
    target = render(
        "s3proxy.properties",
        home / "run" / "s3proxy.properties",
        endpoint=f"http://{config.host}:{config.port_objectstore}",
        access_key=secret(config, "s3_access_key"),
        secret_key=secret(config, "s3_secret_key"),
        data=data,
    )
    options = (*SMALL_SERVER, "-Dlogback.configurationFile=docker/local/s3proxy-logback.xml")
    class_path = str(jars.folder(config, "objectstore") / "*")
    machine = jvm(find_java(config).path, temporary_folder(home, "objectstore"), HEAP, class_path, *options)
    return Launch([*machine, "org.gaul.s3proxy.Main", "--properties", str(target)])
