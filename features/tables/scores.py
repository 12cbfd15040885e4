"""What the champion and the challenger say of feature rows."""

from __future__ import annotations

from pyspark.sql.types import (
    ArrayType,
    DoubleType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from features.tables.table import BATCH, Table, column
from features.tables.tiles_and_features import FEATURE_ROW

REASON = StructType(
    [
        StructField("feature", StringType(), metadata={"comment": "name of the feature"}),
        StructField("value", DoubleType(), metadata={"comment": "its value in this row"}),
        StructField("expected", DoubleType(), metadata={"comment": "its typical value in the training data"}),
        StructField("direction", StringType(), metadata={"comment": "'high' or 'low' against the typical value"}),
        StructField(
            "contribution", DoubleType(), metadata={"comment": "its part of the anomaly score; positive makes stranger"}
        ),
        StructField("text", StringType(), metadata={"comment": "the reason in plain words"}),
    ]
)

SCORES = Table(
    name="scores",
    about="feature rows with the champion's judgement",
    schema=StructType(
        [
            *FEATURE_ROW,
            column("anomaly_score", DoubleType(), "higher is stranger; null where the row cannot be judged"),
            column("anomaly_percentile", DoubleType(), "0 to 100: share of the training rows with a lower score"),
            column("verdict", StringType(), "normal, anomaly or insufficient_data", required=True),
            column("reasons", ArrayType(REASON), "what made an anomaly strange, strongest first"),
            column("model_name", StringType(), "registered model", required=True),
            column("model_version", StringType(), "its version", required=True),
            column("threshold", DoubleType(), "score from which a row is an anomaly", required=True),
            column("scored_at", TimestampType(), "when the row was scored", required=True),
            *BATCH,
        ]
    ),
    keys=("user_id", "window_start"),
    cluster_by=("window_start", "user_id"),
    time="window_start",
    revised=True,
)

SHADOW_SCORES = Table(
    name="shadow_scores",
    about="what the challenger says of the rows that the champion judged; beside, never instead",
    schema=StructType(
        [
            column("user_id", StringType(), "who acted", required=True),
            column("window_start", TimestampType(), "start of the event-time minute", required=True),
            column("model_version", StringType(), "the challenger's version", required=True),
            column("anomaly_score", DoubleType(), "the challenger's score; null where the row cannot be judged"),
            column("anomaly_percentile", DoubleType(), "0 to 100, against the challenger's training data"),
            column(
                "verdict",
                StringType(),
                "normal, anomaly, insufficient_data, or failed: the challenger raised an error",
                required=True,
            ),
            column("threshold", DoubleType(), "the challenger's threshold", required=True),
            column("champion_version", StringType(), "the champion's version", required=True),
            column("champion_score", DoubleType(), "the champion's score"),
            column("champion_verdict", StringType(), "the champion's verdict", required=True),
            *BATCH,
        ]
    ),
    keys=("user_id", "window_start"),
    cluster_by=("window_start", "user_id"),
    time="window_start",
    revised=True,
    on_demand=True,
)
