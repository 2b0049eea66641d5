"""A fleet of exporters on a Kafka broker, beside the ledger of who sends."""
