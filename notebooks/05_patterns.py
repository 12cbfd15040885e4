# %% [markdown]
# # 5. Patterns: what people commonly do
#
# `jobs.mine_patterns` finds, for each day, frequent paths through pages, steps that are more often than chance, and
# groups of sessions and users that behave alike. This notebook mines the days that are due, and shows what was found.
# The same is on the live page, and as a page with pictures in the folder `reports`.

# %%
import matplotlib.pyplot as plt

from features.tables import EVENTS, PATTERN_DAYS, PATTERN_MEMBERS, PATTERNS, SEGMENTS, TRANSITIONS
from jobs.mine_patterns import mine_due
from local.notebook import frame, settings_of_run, spark_of
from patterns.pictures import heat_map, profiles

plt.switch_backend(plt.get_backend())  # from now on pictures that the packages draw are shown, too
settings = settings_of_run()
print(f"{len(frame(settings, EVENTS, ['user_id'])):,} events")
for line in mine_due(spark_of(settings), settings):
    print(line)

# %%
days = frame(settings, PATTERN_DAYS).sort_values("day")
day = days["day"].iloc[-1]
print(f"The newest mined day is {day:%Y-%m-%d}.")
days[["day", "events", "sessions", "users", "mined_sessions", "is_complete"]].tail(14)

# %% [markdown]
# ## Frequent paths
#
# A path is kinds of pages in order, others may lie between. `lift` says how much more often it is walked than if
# people chose pages independently; `flagged` how often its sessions were scored as anomalous.

# %%
paths = frame(settings, PATTERNS)
paths = paths[paths["day"] == day].sort_values("sessions", ascending=False).reset_index(drop=True)
top = paths.head(12).iloc[::-1]
figure, axes = plt.subplots(figsize=(11, 1.5 + 0.38 * len(top)), layout="constrained")
bars = axes.barh(range(len(top)), 100 * top["share"])
axes.bar_label(bars, [f" {row.sessions:,} sessions of {row.users:,} users" for row in top.itertuples()], fontsize=8)
axes.set_yticks(range(len(top)), [name[:70] for name in top["name"]], fontsize=9, parse_math=False)
axes.set(title="Paths walked most", xlabel="% of sessions")
axes.margins(x=0.3)
plt.show()
paths[["description", "trend", "flagged_share"]].head(12).style.set_table_styles(
    [{"selector": "td", "props": "text-align: left"}]
)

# %% [markdown]
# ## Steps against chance
#
# From the row's page to the column's: red is more often than by chance, blue less; bold is more than chance explains.

# %%
steps = frame(settings, TRANSITIONS)
steps = steps[steps["day"] == day]
heat_map(steps.to_dict("records"))

# %% [markdown]
# ## Groups that behave alike
#
# Names and sentences are made from what sets a group apart from everybody. A group with a high `flagged_share` is
# worth a look as a whole.

# %%
segments = frame(settings, SEGMENTS)
segments = segments[segments["day"] == day].sort_values(["unit", "share"], ascending=[True, False])
columns = ["unit", "name", "members", "share", "trend", "flagged_share", "description"]
segments[columns].style.hide(axis="index").format({"share": "{:.0%}", "flagged_share": "{:.0%}"}, na_rep="-")

# %% [markdown]
# What sets the groups of sessions apart, in standard deviations from the mean of all.

# %%
groups = segments[segments["unit"] == "session"].to_dict("records")
print(f"{len(groups)} groups of sessions")
profiles(groups, "session")

# %% [markdown]
# ## Who?
#
# The most typical members of each group of users, to look up on the live page.

# %%
members = frame(settings, PATTERN_MEMBERS)
members = members[(members["day"] == day) & (members["unit"] == "user") & members["is_example"]]
named = members.merge(segments[["segment_id", "name"]], left_on="pattern_id", right_on="segment_id")
named.sort_values(["name", "distance"]).groupby("name")["user_id"].agg(", ".join).to_frame("examples")
