# %% [markdown]
# # 3. Train, compare and promote a model
#
# The champion of the registry scores the stream. Here a challenger is trained on the newest features, both score the
# same rows, the gate compares them, and only if it passes does the challenger become champion. A stream that runs
# takes it at its next micro-batch. The last cell shows how to go back.

# %%
import matplotlib.pyplot as plt
import pandas as pd
from rich.console import Console

from features.errors import ModelError
from features.tables import FEATURE_TABLE, FEEDBACK
from jobs.promote_model import promote
from jobs.shared.history import recent
from jobs.train_model import TrainingOptions, train
from lake.spark_tables import Lake
from local.notebook import frame, settings_of_run, spark_of
from registry.configured import registry_of
from scoring.thresholds import preview
from training.dataset import training_rows
from training.evaluate import compare
from training.gate import scores_of
from training.pictures import draw_influence, feature_influence, scores

plt.switch_backend(plt.get_backend())  # from now on pictures that the packages draw are shown, too
settings = settings_of_run()
print(f"{len(frame(settings, FEATURE_TABLE, ['user_id'])):,} feature rows to learn from")
spark = spark_of(settings)
lake = Lake(spark, settings.storage.root)
lake.create(FEATURE_TABLE, FEEDBACK)
registry = registry_of(settings)

# %% [markdown]
# ## Train
#
# What is learned is what is usual. The rows are one version of the Delta table, so a training can be repeated; users
# who are there all day do not count more than others; what analysts confirmed as strange is left out. Another
# `model.preset`, or `TrainingOptions(search=20)`, tries something else.

# %%
version = train(spark, lake, settings, TrainingOptions(trial=False), tell=print)
champion_version = registry.resolve_champion() or version
champion, challenger = registry.load(champion_version), registry.load(version)
print(f"Version {version} is registered; the champion is version {champion_version}.")

# %% [markdown]
# ## What it learned
#
# Scores of the training rows (higher is stranger) and the threshold from which a row is an anomaly, then what each
# feature contributes: the mean size of its part of the score.

# %%
sample = training_rows(
    recent(lake, 24.0 * settings.gate.days),
    settings.model.min_session_events,
    settings.gate.rows,
    settings.model.seed + 1,
)
scores(challenger.reference)

# %%
influence = feature_influence(challenger.model, sample.rows.head(500))
assert influence is not None
draw_influence(influence.head(20))

# %% [markdown]
# ## Compare on the same rows
#
# A dot is a user-minute. On the diagonal both agree; the lines are the thresholds. Dots in the upper left are what only
# the challenger would flag, in the lower right what only the champion does.

# %%
old, new = scores_of(champion, sample.rows), scores_of(challenger, sample.rows)
figure, axes = plt.subplots(figsize=(6.5, 6), layout="constrained")
axes.scatter(old, new, s=10, alpha=0.3)
low, high = min(old.min(), new.min()), max(old.max(), new.max())
axes.plot([low, high], [low, high], color="grey", linewidth=1)
axes.axvline(champion.threshold, color="tab:red", linestyle="--", label="thresholds")
axes.axhline(challenger.threshold, color="tab:red", linestyle="--")
axes.set(
    title=f"{len(old):,} user-minutes, judged by both",
    xlabel=f"score of champion {champion.version}",
    ylabel=f"score of challenger {challenger.version}",
)
axes.legend(loc="lower right")
plt.show()
pd.Series(compare(old, new, (champion.threshold, challenger.threshold), top=20)).round(3).to_frame("found")

# %% [markdown]
# ## Where should the threshold be?
#
# How many alerts a day each threshold would have meant in training. `python -m jobs.set_threshold --alerts-per-day N`
# changes it without training.

# %%
preview(challenger.reference.alerts, challenger.threshold).round(3)

# %% [markdown]
# ## The gate, and promotion
#
# The gate compares both on these rows, on simulated days with known strangers, over seeds, and on analysts' verdicts.
# What it allows is section `gate` in `conf/base.yaml`. Refused is no error: the champion stays, and the sentence says
# which check failed.

# %%
try:
    promote(settings, version, "trained in notebook 3", lake=lake, console=Console(width=120))
except ModelError as refusal:
    print(refusal)
print(f"The champion is version {registry.resolve_champion()}.")

# %% [markdown]
# ## Back again
#
# `registry.rollback()`, or `python -m jobs.promote_model --rollback`, makes the champion before champion again.
# Both versions stay, with what was said about them:

# %%
description = registry.describe()
assert description is not None
pd.Series(
    {
        name: description.tags.get(name, "")
        for name in ("promoted_at", "promoted_why", "gate", "source", "delta_version")
    }
).to_frame("")
