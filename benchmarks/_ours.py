"""The platform's side of the whole way, in a process of its own: a Spark driver that takes orders from standard input.

``python -m benchmarks._ours SERVERS TOPIC FOLDER EVENTS_A_BATCH [SETTING=VALUE ...]``. Orders, one a line, are each
answered by a line of JSON on the original standard output: ``train`` makes the champion from the topic's start, for us
and (with joblib) for the peers; ``way NAME`` catches up into tables of its own, ``floor`` reads, parses, throws away.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import psutil
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from benchmarks._lake import moved, settings_in
from features.behavior import behavior
from features.records import accepted, validate
from features.tables import ERASURES, EVENTS, FEATURE_TABLE, LEDGER_GAPS, REJECTED_EVENTS, SCORES, TILES
from features.tiles import fold
from lake.spark_tables import Lake
from pipeline import one_pass
from registry.configured import registry_of
from spark.session import spark_session
from streams.rules import session_rules, validation_rules
from training.model import fit
from training.summary import describe

LEARNED_FROM = 40_000
EVENT = "user_id STRING, action STRING, page STRING, timestamp TIMESTAMP, event_id STRING"


class StepLog(logging.Handler):
    """Adds up the seconds of the queries' steps, as they log them."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)

    def emit(self, record: logging.LogRecord) -> None:
        query, _, *text = record.getMessage().split(" ", 2)
        for name, seconds in re.findall(r"([a-z ]+) ([\d.]+) s", " ".join(text)):
            self.seconds[f"{query}: {name.strip()}"] += float(seconds)


class Ours:
    """The orders."""

    def __init__(self, servers: str, topic: str, folder: Path, batch: int, *overrides: str) -> None:
        self.folder, self.topic, self.servers = folder, topic, servers
        self.settings = settings_in(
            folder, f"kafka.bootstrap_servers={servers}", f"kafka.topic={topic}",
            f"kafka.max_offsets_per_trigger={batch}", f"model.tracking_uri=sqlite:///{folder}/mlflow.db", *overrides,
        )  # fmt: skip
        self.began = psutil.Process().create_time()
        self.spark: SparkSession = spark_session(self.settings)
        self.spark.sparkContext.setLogLevel("ERROR")
        self.steps = StepLog()
        logger = logging.getLogger("telemetry.steps")
        logger.setLevel(logging.INFO)
        logger.addHandler(self.steps)

    def train(self) -> dict[str, Any]:
        """Fit on the feature rows of the topic's first events; register, promote, and leave a copy for the peers."""
        ends = json.dumps({self.topic: {str(number): LEARNED_FROM // 4 for number in range(4)}})
        records = self._records(endingOffsets=ends).withColumns(
            {"ingested_at": F.lit(datetime.now(UTC)), "ingest_id": F.lit("train:0")}
        )
        events = accepted(validate(records, validation_rules(self.settings.ingest)))
        rows = behavior(fold(events), session_rules(self.settings)).toPandas()
        rows = rows[rows["session_events"] >= self.settings.model.min_session_events].reset_index(drop=True)
        model = fit(rows)
        registry = registry_of(self.settings)
        version = registry.log_and_register(model, describe(model, rows, days=0.1), rows.head(500))
        registry.promote(version, why="benchmark")
        champion = registry.load(version)
        held = {
            "pipeline": champion.model.pipeline,
            "names": list(model.feature_names),
            "threshold": champion.threshold,
        }
        joblib.dump(held, self.folder / "champion.joblib")
        return {"rows": len(rows), "trees": model.parameters.trees}

    def way(self, name: str) -> dict[str, Any]:
        """Catch up: the whole way in one query, until it has read what is there."""
        settings = moved(self.settings, self.folder / name)
        lake = Lake(self.spark, settings.storage.root)
        self.steps.seconds.clear()
        began = time.time()
        lake.create(EVENTS, REJECTED_EVENTS, ERASURES, LEDGER_GAPS, TILES, FEATURE_TABLE, SCORES)
        job_seconds: dict[str, float] = {"creating tables": time.time() - began}
        batches = 0
        before = time.time()
        run = one_pass.start(self.spark, lake, settings, once=True)
        run.query.awaitTermination()
        run.catch_up()
        run.stop()
        batches += len({progress["batchId"] for progress in run.query.recentProgress if progress["numInputRows"]})
        job_seconds[one_pass.QUERY] = time.time() - before
        ended = time.time()
        return {
            "seconds": ended - began, "since_start": ended - self.began, "jobs": job_seconds, "batches": batches,
            "steps": dict(self.steps.seconds), "scores": lake.path(SCORES),
            "rejected": lake.read(REJECTED_EVENTS).count(), "events": lake.read(EVENTS).count(),
            "rows": lake.read(SCORES).count(),
        }  # fmt: skip

    def floor(self) -> dict[str, Any]:
        """The same topic read, parsed and thrown away."""
        began = time.time()
        parsed = self._records().select(F.from_json(F.col("value").cast("string"), EVENT).alias("event"))
        parsed.select("event.*").write.format("noop").mode("overwrite").save()
        return {"seconds": time.time() - began}

    def _records(self, **options: str) -> Any:
        reader = self.spark.read.format("kafka").option("kafka.bootstrap.servers", self.servers)
        return reader.option("subscribe", self.topic).option("includeHeaders", "true").options(**options).load()


def main() -> None:
    """Take orders until there are no more."""
    servers, topic, folder, batch, *overrides = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr
    ours = Ours(servers, topic, Path(folder), int(batch), *overrides)
    for line in sys.stdin:
        order, *words = line.split()
        answer = getattr(ours, order)(*words)
        print(json.dumps(answer), file=answers, flush=True)
    ours.spark.stop()


if __name__ == "__main__":
    main()
