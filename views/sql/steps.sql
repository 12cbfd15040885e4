-- What was done, in which session and as which step of it; an event whose minute is not scored yet is not there.
SELECT
    events.user_id, minutes.session_start,
    row_number() OVER (
        PARTITION BY events.user_id, minutes.session_start ORDER BY events.timestamp, events.ingested_at, events.event_key
    ) AS step,
    events.timestamp, events.action, events.page, events.outcome, events.country, minutes.verdict
FROM {{ source("behavior", "events") }} AS events
JOIN {{ ref("current_scores") }} AS minutes
    ON minutes.user_id = events.user_id AND minutes.window_start = date_trunc('minute', events.timestamp)
