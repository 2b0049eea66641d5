"""Exporters as a fleet: members of a Kafka consumer group that share the partitions of the topics with events."""
