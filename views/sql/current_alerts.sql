-- Each alert as it stands; alerts that went into another one are left out.
SELECT
    alert_id, user_id, state, session_start, session_end, first_window_start, last_window_start, flagged_minutes,
    anomaly_score, anomaly_percentile, model_version, raised_at
FROM (
    SELECT *, row_number() OVER (PARTITION BY alert_id ORDER BY revision DESC, batch_time DESC, batch_id DESC) AS newest
    FROM {{ source("behavior", "alerts") }}
) AS revisions
WHERE newest = 1 AND state <> 'merged'
