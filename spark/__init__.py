"""The Spark session, its Java, and where it keeps what it needs for a moment."""
