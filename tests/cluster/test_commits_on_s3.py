"""The law of tests/integration/test_commits.py on S3, whose own condition refuses the second of two commits."""

from __future__ import annotations

import json
from pathlib import Path

import boto3
import pytest
from deltalake import DeltaTable

from features.tables import LEDGER_GAPS
from tests.cluster.programs import s3_server
from tests.integration.test_commits import check, writers
from tests.paths import PROJECT
from tools import s3_jars

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1200)]

BUCKET, KEY, SECRET, REGION = "behavior", "a-key", "a secret", "eu-west-1"


def test_two_sparks_and_deltalake_write_one_table_on_s3_and_nothing_told_is_lost(tmp_path: Path) -> None:
    jars = [*sorted((PROJECT / ".jars" / "spark").glob("*.jar")), *sorted(s3_jars.fetch(PROJECT).glob("*.jar"))]
    with s3_server(tmp_path / "s3") as url:
        client = boto3.client(
            "s3", endpoint_url=url, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name=REGION
        )
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        reached = {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",
            "BEHAVIOR_S3__ENDPOINT": url,
            "BEHAVIOR_S3__REGION": REGION,
            "BEHAVIOR_S3__PATH_STYLE": "true",
            "BEHAVIOR_SPARK__CONF": json.dumps({"spark.jars": ",".join(map(str, jars))}),
        }
        with writers(f"s3a://{BUCKET}/lake", 20, env=reached) as all_three:
            for writer in all_three:
                writer.end()
            assert [len(writer.told) for writer in all_three] == [20, 20, 20]
            check(DeltaTable(f"s3://{BUCKET}/lake/{LEDGER_GAPS.name}", storage_options=reached), *all_three)
