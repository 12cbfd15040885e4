"""What check_drift and check_parity found."""

from __future__ import annotations

from pyspark.sql.types import (
    BooleanType,
    DoubleType,
    LongType,
    StringType,
    StructType,
    TimestampType,
)

from features.tables.table import Table, column

DRIFT_REPORTS = Table(
    name="drift_reports",
    about="what check_drift found: per run a row for each feature, for scores, for the flag rate and for its days",
    schema=StructType(
        [
            column("run_id", StringType(), "the run", required=True),
            column("checked_at", TimestampType(), "when it ran", required=True),
            column("model_name", StringType(), "registered model", required=True),
            column("model_version", StringType(), "the champion that rows were compared with", required=True),
            column("since", TimestampType(), "first minute compared; null when there was none"),
            column("until", TimestampType(), "last minute compared; null when there was none"),
            column("subject", StringType(), "a feature, (score), (flag rate), (day) or (nothing)", required=True),
            column("day", TimestampType(), "for (day): which one"),
            column("rows", LongType(), "rows compared; for (day) the judged ones", required=True),
            column("users", LongType(), "their users", required=True),
            column("psi", DoubleType(), "population stability index"),
            column("distance", DoubleType(), "Kolmogorov-Smirnov distance, 0 to 1"),
            column("shift", DoubleType(), "Wasserstein distance in units of the reference's spread"),
            column("expected", DoubleType(), "median in training; for flags the share in training"),
            column("found", DoubleType(), "median now; for flags the share now"),
            column("drifted", BooleanType(), "beyond the limits", required=True),
            column("retrain", BooleanType(), "what the whole run says; null: too few rows to tell"),
            column("because", StringType(), "why", required=True),
        ]
    ),
    keys=("run_id", "subject", "day"),
    cluster_by=("checked_at",),
    time="checked_at",
)

PARITY_REPORTS = Table(
    name="parity_reports",
    about="what check_parity found: one row per run and compared column, and one for whole rows",
    schema=StructType(
        [
            column("run_id", StringType(), "the run", required=True),
            column("checked_at", TimestampType(), "when it ran", required=True),
            column(
                "as_of", StringType(), "newest finished micro-batch of build_features that was compared", required=True
            ),
            column("since", TimestampType(), "first minute compared", required=True),
            column("until", TimestampType(), "first minute not compared", required=True),
            column("feature", StringType(), "compared column; (rows), (tiles), (scores): all of them", required=True),
            column("rows", LongType(), "keys compared", required=True),
            column("missing", LongType(), "the events have it, the table does not", required=True),
            column("extra", LongType(), "the table has it, the events do not", required=True),
            column("different", LongType(), "both have it and they are not equal", required=True),
            column("largest_difference", DoubleType(), "greatest absolute difference; times in minutes"),
            column("repaired", BooleanType(), "right revisions were appended", required=True),
        ]
    ),
    keys=("run_id", "feature"),
    cluster_by=("checked_at",),
    time="checked_at",
)
