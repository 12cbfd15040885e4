-- Days (UTC): events, people, who of them is new, and sessions that begin on the day.
SELECT
    done.day, done.events, done.people, coalesce(fresh.new_people, 0) AS new_people,
    coalesce(visits.sessions, 0) AS sessions, coalesce(visits.flagged_sessions, 0) AS flagged_sessions
FROM (
    SELECT date_trunc('day', timestamp) AS day, count(*) AS events, count(DISTINCT user_id) AS people
    FROM {{ source("behavior", "events") }}
    GROUP BY date_trunc('day', timestamp)
) AS done
LEFT JOIN (
    SELECT date_trunc('day', first_seen) AS day, count(*) AS new_people
    FROM {{ ref("people") }}
    GROUP BY date_trunc('day', first_seen)
) AS fresh ON fresh.day = done.day
LEFT JOIN (
    SELECT
        date_trunc('day', session_start) AS day, count(*) AS sessions,
        count(*) FILTER (WHERE is_flagged) AS flagged_sessions
    FROM {{ ref("sessions") }}
    GROUP BY date_trunc('day', session_start)
) AS visits ON visits.day = done.day
