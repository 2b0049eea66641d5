"""Events from intake to counters: durable, each counted once."""
