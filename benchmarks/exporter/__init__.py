"""What one exporter process takes: events with durable acknowledgement, memory, scrapes, and what survives kill -9."""
