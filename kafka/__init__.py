"""Kafka: its connection, a source that notices what Spark does not, and the producer that an app imports."""
