-- Users: how long known, and how much they did. is_bot: at least half of the judged sessions were flagged.
SELECT
    seen.user_id, seen.first_seen, seen.last_seen, seen.active_days, seen.events,
    coalesce(visits.sessions, 0) AS sessions, coalesce(visits.flagged_sessions, 0) AS flagged_sessions,
    coalesce(2 * visits.flagged_sessions >= visits.judged_sessions AND visits.flagged_sessions > 0, false) AS is_bot
FROM (
    SELECT
        user_id, min(timestamp) AS first_seen, max(timestamp) AS last_seen,
        count(DISTINCT date_trunc('day', timestamp)) AS active_days, count(*) AS events
    FROM {{ source("behavior", "events") }}
    GROUP BY user_id
) AS seen
LEFT JOIN (
    SELECT
        user_id, count(*) AS sessions, count(*) FILTER (WHERE is_flagged) AS flagged_sessions,
        count(*) FILTER (WHERE judged_minutes > 0) AS judged_sessions
    FROM {{ ref("sessions") }}
    GROUP BY user_id
) AS visits ON visits.user_id = seen.user_id
