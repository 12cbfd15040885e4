"""Where tables and checkpoints live, and the Spark session that works on them."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import Field

from settings.section import Section


class S3Settings(Section):
    """The store behind ``s3a://``; credentials are in the environment, see :meth:`tell_clients`."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[^/\s@]+/?$")] | None = None
    region: str | None = None
    path_style: bool = False

    def tell_clients(self) -> None:
        """Tell the clients of this process where the store is. What conf leaves open stays as the environment has it.

        Spark (S3A), deltalake, Arrow and MLflow each have a client of their own. All of them read Amazon's environment
        variables, so credentials come from there (or from the role of a machine or pod) and nowhere else.
        """
        if self.endpoint is not None:
            os.environ["AWS_ENDPOINT_URL"] = self.endpoint
        if self.region is not None:
            os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = self.region
        if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
            os.environ["AWS_ALLOW_HTTP"] = "true"  # deltalake wants to be told


class StorageSettings(Section):
    """Where tables and checkpoints live."""

    root: str
    checkpoints: str
    snapshot_partitions: int = Field(50, ge=1)


class SparkSettings(Section):
    """The Spark session; under spark-submit only what is not null or empty is set."""

    master: str | None = None
    app_name: str = "user-behavior-analysis"
    shuffle_partitions: int = Field(200, ge=1)
    driver_memory: str | None = None
    java_options: str | None = None
    jars: str | None = None
    conf: dict[str, str] = Field(default_factory=dict)
