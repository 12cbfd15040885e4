"""Feature rows to scores with reasons: the model in use, its compiled forest, thresholds and the explanation."""
