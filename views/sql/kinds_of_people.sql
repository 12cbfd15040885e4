-- The kind that each user was of on the newest mined day of the user.
SELECT
    members.user_id, max(members.day) AS day, max_by(segments.name, members.day) AS kind,
    max_by(segments.description, members.day) AS description
FROM {{ source("behavior", "pattern_members") }} AS members
JOIN {{ source("behavior", "segments") }} AS segments
    ON segments.day = members.day AND segments.unit = members.unit AND segments.segment_id = members.pattern_id
WHERE members.unit = 'user'
GROUP BY members.user_id
