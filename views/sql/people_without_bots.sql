-- Users but for those whose judged sessions were mostly flagged.
SELECT * FROM {{ ref("people") }} WHERE NOT is_bot
