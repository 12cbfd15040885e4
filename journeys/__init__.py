"""Where people go, counted: funnels, retention, lifecycles. DuckDB reads the tables; no Spark, no model."""
