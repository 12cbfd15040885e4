-- Alerts that somebody has judged: verdict true says that it was an anomaly indeed.
SELECT alerts.*, words.verdict, words.analyst, words.judged_at
FROM {{ ref("current_alerts") }} AS alerts
JOIN (
    SELECT
        said.alert_id, max_by(said.verdict, said.at) AS verdict, max_by(said.analyst, said.at) AS analyst,
        max(said.at) AS judged_at
    FROM {{ source("behavior", "feedback") }} AS said
    GROUP BY said.alert_id
) AS words ON words.alert_id = alerts.alert_id
