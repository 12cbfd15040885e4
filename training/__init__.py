"""Learning what is normal: data set, estimator, search, evaluation and gate; and drift from what was learned."""
