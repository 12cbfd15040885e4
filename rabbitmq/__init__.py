"""RabbitMQ: the bridge to Kafka, and what it needs of the server."""
