"""S3 and what speaks its language: one place in conf for all the clients that read and write it.

Spark (S3A), deltalake, Arrow and MLflow each have a client of their own. All of them read Amazon's environment
variables, so credentials come from there (or from the role of a machine or pod) and nowhere else, and what conf says of
the store is put there for this process.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.runtime.settings import StorageSettings

S3A = "s3a://"
# Two drivers must not write the same commit of a table. Delta's own way on S3 knows only of one driver; this log store
# asks S3 to refuse what is there already, as deltalake does. `make s3-jars` builds it (tools/java).
LOG_STORE = {"spark.delta.logStore.s3a.impl": "behavior.S3LogStore"}


def is_s3(storage: StorageSettings) -> bool:
    return storage.root.startswith(S3A) or storage.checkpoints.startswith(S3A)


def prepare(storage: StorageSettings) -> None:
    """Tell the clients of this process where the store is. What conf leaves open stays as the environment has it."""
    store = storage.s3
    if store.endpoint is not None:
        os.environ["AWS_ENDPOINT_URL"] = store.endpoint
    if store.region is not None:
        os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = store.region
    if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        os.environ["AWS_ALLOW_HTTP"] = "true"  # deltalake wants to be told


def spark_conf(storage: StorageSettings) -> dict[str, str]:
    """Spark settings for tables and checkpoints on S3; none where they are elsewhere.

    Credentials are not among them: Spark takes those of the driver's environment, and tells its executors.
    """
    if not is_s3(storage):
        return {}
    found = dict(LOG_STORE)
    endpoint = storage.s3.endpoint or os.environ.get("AWS_ENDPOINT_URL")
    region = storage.s3.region or os.environ.get("AWS_REGION")
    if endpoint:
        found["spark.hadoop.fs.s3a.endpoint"] = endpoint
    if region:
        found["spark.hadoop.fs.s3a.endpoint.region"] = region
    if storage.s3.path_style:
        found["spark.hadoop.fs.s3a.path.style.access"] = "true"
    return found
