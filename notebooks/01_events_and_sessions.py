# %% [markdown]
# # 1. Explore events and sessions
#
# What arrived, from whom, when, and how long people stay. This notebook reads the Delta tables of `make run` without
# Spark, so it starts in a second and does not disturb a run that is under way.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from features.tables import EVENTS, FEATURE_TABLE, REJECTED_EVENTS
from lake import arrow_tables
from local.notebook import frame, settings_of_run

plt.rcParams["date.converter"] = "concise"
settings = settings_of_run()
events = frame(settings, EVENTS, ["user_id", "action", "page", "timestamp", "received_at"])
first, last = events["timestamp"].min(), events["timestamp"].max()
print(f"{len(events):,} events of {events['user_id'].nunique():,} users, {first:%Y-%m-%d %H:%M} to {last:%H:%M} UTC")
events.sample(min(5, len(events)), random_state=1)

# %% [markdown]
# ## When?
#
# Events per step of time, by action. A step is a minute, or longer where the time is long. Spikes that only one action
# has are worth a look: people read and click together, programs often do one thing.

# %%
steps = {"minute": 1, "5 minutes": 5, "quarter of an hour": 15, "hour": 60, "6 hours": 360, "day": 1440, "week": 10080}
step = next((name for name, length in steps.items() if (last - first) <= pd.Timedelta(200 * length, "min")), "week")
common = events["action"].value_counts().index[:5]
named = events["action"].where(events["action"].isin(common), "(others)")
counts = events.groupby([events["timestamp"].dt.floor(f"{steps[step]}min"), named]).size().unstack(fill_value=0)
figure, axes = plt.subplots(figsize=(11, 4), layout="constrained")
axes.stackplot(counts.index, counts.to_numpy().T, labels=counts.columns, step="post")
axes.set(title=f"Events per {step}", ylabel="events", xlabel="event time (UTC)", ylim=(0, None))
axes.legend(loc="upper left", bbox_to_anchor=(1, 1), title="action")
plt.show()

# %% [markdown]
# ## What?
#
# The pages most used, and how many different people use them: a page with many events and few people is somebody's
# own.

# %%
pages = events.groupby("page").agg(events=("page", "size"), users=("user_id", "nunique"))
top = pages.sort_values("events").tail(15)
figure, axes = plt.subplots(figsize=(11, 5), layout="constrained")
place = np.arange(len(top))
axes.barh(place + 0.2, top["events"], 0.4, label="events")
axes.barh(place - 0.2, top["users"], 0.4, label="different users")
axes.set_yticks(place, [page[:50] for page in top.index], parse_math=False)
axes.set(title="Pages most used", xscale="symlog")
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# ## Sessions
#
# A session ends after `features.session_gap_minutes` without an event. The features carry it: the last minute of a
# session knows how long it was and how much happened in it.

# %%
minutes = frame(
    settings, FEATURE_TABLE, ["user_id", "window_start", "session_start", "session_events", "session_minutes"]
)
sessions = minutes.sort_values("window_start").groupby(["user_id", "session_start"], as_index=False).last()
print(
    f"{len(sessions):,} sessions of {sessions['user_id'].nunique():,} users; "
    f"half have at most {sessions['session_events'].median():.0f} events"
)
sessions[["session_events", "session_minutes"]].describe(percentiles=[0.5, 0.9, 0.99]).round(1)

# %% [markdown]
# Each dot is a session. Most are short; the upper left, where much happens in little time, is where programs are.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
sizes = np.logspace(0, np.log10(max(10.0, sessions["session_events"].max())), 30)
left.hist(sessions["session_events"], bins=sizes)
left.set(xscale="log", title="How much happens in a session", xlabel="events of the session", ylabel="sessions")
right.scatter(sessions["session_minutes"], sessions["session_events"], s=14, alpha=0.4)
right.set(xscale="log", yscale="log", title="Length and events", xlabel="minutes from first to last", ylabel="events")
plt.show()

# %% [markdown]
# ## One session, event by event
#
# The busiest session as it was: each tick is an event, each line a page. Regular ticks on ever new pages are a
# machine's, bursts with pauses a person's.

# %%
busiest = sessions.nlargest(1, "session_events").iloc[0]
end = busiest["window_start"] + pd.Timedelta("1min")
own = events[events["user_id"] == busiest["user_id"]]
own = own[own["timestamp"].between(busiest["session_start"], end, inclusive="left")].sort_values("timestamp")
shown = own["page"].value_counts().index[:25]
figure, axes = plt.subplots(figsize=(12, max(3.0, 1.5 + 0.22 * len(shown))), layout="constrained")
for height, page in enumerate(shown[::-1]):
    at = own.loc[own["page"] == page, "timestamp"]
    axes.scatter(at, np.full(len(at), height), marker="|", s=60)
axes.set_yticks(range(len(shown)), [page[:60] for page in shown[::-1]], fontsize=8, parse_math=False)
axes.set(title=f"{len(own):,} events of one session on {own['page'].nunique():,} pages (25 shown)", xlabel="UTC")
plt.show()

# %% [markdown]
# ## What was rejected, and why
#
# A record that is no event is kept in `rejected_events` with its bytes and a reason. Many of one reason point to a
# sender with a fault; `jobs.replay_rejected` takes them in after a fix.

# %%
rejected = arrow_tables.read(settings.storage.root, REJECTED_EVENTS, ["reason", "field", "detail"]).to_pandas()
print(f"{len(rejected):,} records rejected, {len(rejected) / (len(rejected) + len(events)):.2%} of all")
rejected.value_counts(["reason", "field"], dropna=False).rename("records").reset_index().head(10)
