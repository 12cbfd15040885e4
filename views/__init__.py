"""The tables as analysts want them: SQL that Spark, DuckDB and Trino read alike; one file a view, in ``views/sql``.

A file names tables as ``{{ source("behavior", "scores") }}`` and other views as ``{{ ref("current_scores") }}``, as dbt
has it, so that the same files are the models of a dbt project (``examples/dbt``).
"""
