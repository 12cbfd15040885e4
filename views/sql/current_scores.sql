-- The newest verdict on each user's minute; table scores keeps the ones before.
SELECT
    user_id, window_start, session_start, session_events, anomaly_score, anomaly_percentile, threshold, verdict,
    model_version, scored_at
FROM (
    SELECT *, row_number() OVER (PARTITION BY user_id, window_start ORDER BY batch_time DESC, batch_id DESC) AS newest
    FROM {{ source("behavior", "scores") }}
) AS revisions
WHERE newest = 1
