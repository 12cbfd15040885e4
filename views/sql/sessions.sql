-- Sessions, as features and alerts know them: how long, how much, and how many of their minutes were flagged.
SELECT
    user_id, session_start, max(window_start) AS last_minute, count(*) AS active_minutes,
    max(session_events) AS events, max(anomaly_score) AS highest_score,
    count(*) FILTER (WHERE verdict <> 'insufficient_data') AS judged_minutes,
    count(*) FILTER (WHERE verdict = 'anomaly') AS flagged_minutes,
    count(*) FILTER (WHERE verdict = 'anomaly') > 0 AS is_flagged
FROM {{ ref("current_scores") }}
GROUP BY user_id, session_start
