"""What jobs share: settings, the Spark session, Delta tables, Kafka, the embedded broker, progress."""
