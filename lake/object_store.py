"""S3 and what speaks its language: one place in conf for all the clients that read and write it.

Where the store is was put into the environment when settings were read, see :meth:`settings.S3Settings.tell_clients`.
"""

from __future__ import annotations

import os

from settings import Settings, StorageSettings

S3A = "s3a://"
IN_A_POD = "KUBERNETES_SERVICE_HOST"
"""Kubernetes sets it in every container."""
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def is_s3(storage: StorageSettings) -> bool:
    return storage.root.startswith(S3A) or storage.checkpoints.startswith(S3A)


def reach() -> dict[str, str]:
    """How a Python worker reaches the store that this process was told of; without credentials."""
    names = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ALLOW_HTTP")
    return {name: os.environ[name] for name in names if name in os.environ}


def spark_conf(settings: Settings) -> dict[str, str]:
    """Spark settings for tables and checkpoints on S3; none where they are elsewhere.

    Credentials are not in conf: Spark takes those of the driver's environment, and tells its executors.
    """
    if not is_s3(settings.storage):
        return {}
    conf: dict[str, str] = {}
    endpoint = settings.s3.endpoint or os.environ.get("AWS_ENDPOINT_URL")
    region = settings.s3.region or os.environ.get("AWS_REGION")
    if endpoint:
        conf["spark.hadoop.fs.s3a.endpoint"] = endpoint
    if region:
        conf["spark.hadoop.fs.s3a.endpoint.region"] = region
    if settings.s3.path_style:
        conf["spark.hadoop.fs.s3a.path.style.access"] = "true"
    # Python workers write the tables' files; where executors have no role of their own, they go by the driver's. Not on
    # Kubernetes: it would be in the pods' descriptions, and docs/deploy/kubernetes refers to the secret instead.
    if IN_A_POD not in os.environ:
        conf |= {f"spark.executorEnv.{name}": os.environ[name] for name in CREDENTIALS if name in os.environ}
    return conf
