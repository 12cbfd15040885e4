# %% [markdown]
# # 2. Features and what they mean
#
# A feature row tells how a user behaved in one minute: in the minute itself, in the session so far, and against the
# user's own past. This notebook shows every feature in words and numbers, and computes one session's rows again from
# its events, by the very function that the stream uses.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pyspark.sql import functions as F

from features.behavior import behavior
from features.definitions import FEATURE_NAMES, FEATURE_VERSION, FEATURES
from features.tables import EVENTS, FEATURE_TABLE
from features.tiles import fold
from lake.spark_tables import Lake
from local.notebook import frame, settings_of_run, spark_of
from streams.rules import session_rules

plt.rcParams["date.converter"] = "concise"
settings = settings_of_run()
rows = frame(settings, FEATURE_TABLE)
scorable = rows[rows["session_events"] >= settings.model.min_session_events]
print(
    f"{len(rows):,} user-minutes of feature version {FEATURE_VERSION}, {len(scorable):,} of them with enough events "
    f"({settings.model.min_session_events}) to be judged"
)

# %% [markdown]
# ## Every feature in words
#
# `typical` and `1 in 100` are from your own data: the median, and what one minute in a hundred exceeds. A feature is
# missing (not 0) where nothing can be known yet, for example a user's own pace on the first day.

# %%
values = scorable[list(FEATURE_NAMES)]
table = pd.DataFrame(
    {
        "feature": [one.name for one in FEATURES],
        "meaning": [one.meaning for one in FEATURES],
        "unit": [one.unit for one in FEATURES],
        "low means": [one.low for one in FEATURES],
        "high means": [one.high for one in FEATURES],
        "typical": values.median().to_numpy().round(2),
        "1 in 100": values.quantile(0.99).to_numpy().round(2),
        "missing": values.isna().mean().map("{:.0%}".format).to_numpy(),
    }
)
table.style.hide(axis="index").set_table_styles([{"selector": "td", "props": "text-align: left"}])

# %% [markdown]
# ## How they are spread
#
# Counts and paces have long tails, so the model compares them on a logarithm (and so do these pictures).
# The line is the median.

# %%
columns = 6
figure, grid = plt.subplots(-(-len(FEATURES) // columns), columns, figsize=(15, 13), layout="constrained")
for feature, axes in zip(FEATURES, grid.flat, strict=False):
    known = values[feature.name].dropna()
    shown = np.log10(1 + known.clip(lower=0)) if feature.heavy_tail else known
    axes.hist(shown, bins=30)
    if len(shown):
        axes.axvline(shown.median(), color="black", linewidth=1)
    axes.set_title(feature.name.replace("_", " "), fontsize=9)
    axes.set_xlabel(f"log10(1 + {feature.unit})" if feature.heavy_tail else feature.unit, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.set_yticks([])
for axes in list(grid.flat)[len(FEATURES) :]:
    axes.set_axis_off()
plt.show()

# %% [markdown]
# ## Which tell the same story?
#
# Rank correlation between features: dark squares say the same thing twice. An isolation forest bears that well, but a
# reader of reasons should know that `views per minute` and `events per minute` often come together.

# %%
varied = values.loc[:, values.nunique() > 1]
together = varied.rank().corr().fillna(0.0)
order = np.argsort(np.linalg.eigh(together.to_numpy())[1][:, -1])
together = together.iloc[order, order]
figure, axes = plt.subplots(figsize=(10, 9), layout="constrained")
image = axes.imshow(together, cmap="RdBu_r", vmin=-1, vmax=1)
names = [name.replace("_", " ") for name in together.columns]
axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
axes.set_yticks(range(len(names)), names, fontsize=8)
axes.set_title("Rank correlation of features")
figure.colorbar(image, ax=axes, shrink=0.7)
plt.show()

# %% [markdown]
# ## A session's features, minute by minute
#
# The user with the most minutes. A row never looks at later minutes, so the lines are what the platform knew
# at that moment.

# %%
user = rows["user_id"].value_counts().index[0]
own = rows[rows["user_id"] == user].sort_values("window_start")
shown = ["events_per_minute", "session_rate", "distinct_pages_per_session", "gap_variation", "repeat_ratio"]
figure, stack = plt.subplots(len(shown), 1, figsize=(11, 9), sharex=True, layout="constrained")
for name, axes in zip(shown, stack, strict=True):
    axes.plot(own["window_start"], own[name], marker=".", drawstyle="steps-post")
    axes.set_title(name.replace("_", " "), fontsize=10, loc="left")
    axes.set_ylim(bottom=0)
stack[-1].set_xlabel("UTC")
plt.show()

# %% [markdown]
# ## The same numbers from the raw events
#
# `features.behavior.behavior` is the only definition of the features: the stream, the back-fill and this cell call it.
# Here it runs in Spark over the events of this user, and must give the rows that the stream wrote.

# %%
spark = spark_of(settings)
lake = Lake(spark, settings.storage.root)
events = lake.read(EVENTS).where(F.col("user_id") == user)
again = behavior(fold(events), session_rules(settings)).toPandas().sort_values("window_start")
same = np.isclose(again[list(FEATURE_NAMES)], own[list(FEATURE_NAMES)], rtol=0, atol=0, equal_nan=True)
print(f"{len(again):,} rows computed from {events.count():,} events: {(~same).sum()} values differ from the stream's")
