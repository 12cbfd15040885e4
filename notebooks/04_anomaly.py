# %% [markdown]
# # 4. Investigate an anomaly, from the alert to the raw events
#
# Somebody was flagged. Was it right? This notebook goes the way of an analyst: the alert and its reasons, the user's
# minutes around it, how they compare with everybody's, and at last the bytes that the app sent. No Spark is needed.

# %%
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow.compute as pc

from alerts import feedback
from features.definitions import FEATURES
from features.tables import ALERTS, EVENTS, SCORES
from local.notebook import frame, settings_of_run
from registry.configured import registry_of
from scoring.explain import explainer
from scoring.reasons import amount

plt.rcParams["date.converter"] = "concise"
settings = settings_of_run()
alerts = frame(settings, ALERTS).sort_values("anomaly_score", ascending=False)
alerts = alerts[alerts["state"].isin(["open", "closed"])].reset_index(drop=True)
print(f"{len(alerts):,} alerts stand; the strangest:")
shown = ["user_id", "session_start", "flagged_minutes", "anomaly_score", "anomaly_percentile", "state"]
alerts[shown].head(10).round(3)

# %% [markdown]
# ## The alert
#
# The strangest is taken; put another number, or an id from the live page, in its place. Each reason says what was
# found, what is usual, and how much of the score it explains.

# %%
alert = alerts.iloc[0]
print(f"User {alert['user_id']}, session from {alert['session_start']:%Y-%m-%d %H:%M} UTC, {alert['state']}")
print(f"score {alert['anomaly_score']:.3f}, stranger than {alert['anomaly_percentile']:.2f} % of the training rows\n")
for reason in alert["reasons"]:
    print(f"  {reason['contribution']:+.3f}  {reason['text']}")

# %% [markdown]
# ## The user's minutes
#
# Every scored minute of the user against the threshold in force. One red minute in a calm day is an accident or
# a take-over; red from the beginning is a program.

# %%
mine = frame(settings, SCORES, where=pc.field("user_id") == alert["user_id"]).sort_values("window_start")
flagged = mine[mine["verdict"] == "anomaly"]
figure, (above, below) = plt.subplots(2, 1, figsize=(11, 6), sharex=True, layout="constrained")
above.plot(mine["window_start"], mine["anomaly_score"], marker=".", label="score")
above.scatter(flagged["window_start"], flagged["anomaly_score"], color="tab:red", zorder=3, label="flagged")
above.plot(mine["window_start"], mine["threshold"], color="grey", linestyle="--", label="threshold")
above.set(title="Anomaly score (higher is stranger)", ylabel="score")
above.legend(loc="upper left", bbox_to_anchor=(1, 1))
bottom = np.zeros(len(mine))
for name in ("clicks_per_minute", "views_per_minute", "interactions_per_minute"):
    below.bar(mine["window_start"], mine[name], width=pd.Timedelta("50s"), bottom=bottom, label=name.split("_")[0])
    bottom += mine[name].to_numpy()
below.set(title="What the user did", ylabel="events per minute", xlabel="UTC")
below.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# ## Why: every feature's part of the score
#
# The parts of the strangest minute add up to its score less that of a row of which nothing is known. Bars to the right
# make stranger. The text compares the value with the typical one of the training data.

# %%
champion = registry_of(settings).load(alert["model_version"])
assert champion.forest is not None
minute = mine[mine["window_start"] == alert["window_start"]].iloc[-1]
names = list(champion.model.feature_names)
values = minute[names].to_numpy(np.float64).reshape(1, -1)
parts = pd.Series(explainer(champion.forest).contributions(values)[0], names)
top = parts.loc[parts.abs().sort_values().tail(14).index]
unit = {one.name: one.unit for one in FEATURES}
labels = [
    f"{name.replace('_', ' ')}: {amount(minute[name], unit[name]) if pd.notna(minute[name]) else 'unknown'}"
    f" (usually {amount(champion.reference.features[name].typical, unit[name])})"
    for name in top.index
]
figure, axes = plt.subplots(figsize=(11, 5.5), layout="constrained")
axes.barh(labels, top, color=np.where(top > 0, "tab:red", "tab:blue"))
axes.axvline(0, color="black", linewidth=0.8)
axes.set(title=f"Parts of the score {minute['anomaly_score']:.3f}", xlabel="makes normal  <   part   >  makes stranger")
plt.show()

# %% [markdown]
# ## Against everybody
#
# All scored minutes in two of the reasons' features; the user's are red.

# %%
two = list(dict.fromkeys([*(one["feature"] for one in alert["reasons"]), "events_per_minute", "session_minutes"]))[:2]
everybody = frame(settings, SCORES, ["user_id", "verdict", *two])
everybody = everybody[everybody["verdict"] != "insufficient_data"]
figure, axes = plt.subplots(figsize=(8, 5.5), layout="constrained")
axes.scatter(everybody[two[0]], everybody[two[1]], s=10, alpha=0.25, label="all judged minutes")
axes.scatter(mine[two[0]], mine[two[1]], s=26, color="tab:red", label="this user")
for axis, name in zip((axes.xaxis, axes.yaxis), two, strict=True):
    axis.set_label_text(f"{name.replace('_', ' ')} ({unit[name]})")
scales = ["linear" if unit[name] == "share" else "symlog" for name in two]
axes.set(title="All judged minutes", xscale=scales[0], yscale=scales[1])
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# ## The raw events
#
# What the user did in the session, and below the bytes of one record exactly as the app sent them, with the place in
# Kafka that they came from.

# %%
session = frame(
    settings,
    EVENTS,
    ["timestamp", "action", "page", "properties", "raw", "topic", "partition", "offset", "received_at"],
    where=(pc.field("user_id") == alert["user_id"])
    & (pc.field("timestamp") >= alert["session_start"])
    & (pc.field("timestamp") < alert["session_end"] + pd.Timedelta("1min")),
).sort_values("timestamp")
pauses = np.diff(session["timestamp"].dt.tz_localize(None).to_numpy()) / np.timedelta64(1, "s")
print(
    f"{len(session):,} events on {session['page'].nunique():,} pages; half the pauses are under {np.median(pauses):g} s"
)
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
left.scatter(session["timestamp"], pd.factorize(session["page"])[0], marker="|", s=50)
left.set(title="Pages in the order of their first visit", xlabel="UTC", ylabel="page number")
left.tick_params(axis="x", rotation=30)
right.hist(pauses.clip(max=60), bins=60)
right.set(title="Pauses between events", xlabel="seconds (60: or more)", ylabel="events")
plt.show()
session[["timestamp", "action", "page"]].head(15)

# %%
one = session.iloc[0]
print(f"{one['topic']}, partition {one['partition']}, offset {one['offset']}, received {one['received_at']:%F %T} UTC")
if one["raw"] is None:
    print("The bytes are not kept (ingest.pseudonymise).")
else:
    print(json.dumps(json.loads(one["raw"]), indent=2, ensure_ascii=False)[:2000])

# %% [markdown]
# ## Say what it was
#
# Your word counts: what is confirmed is left out of the next training, and the gate measures models by it. On the live
# page it is two buttons, in code it is `feedback.record(settings.storage.root, alert, is_true=True, note="a scraper")`.
# What was said so far:

# %%
said = feedback.newest(settings.storage.root)
print(f"{len(said)} alerts have a verdict; this one: {said.get(alert['alert_id'], {}).get('verdict', 'none yet')}")
