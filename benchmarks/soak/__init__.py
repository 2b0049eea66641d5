"""An exporter under faults: clients with ledgers of their own, and whatever a machine or a stranger may do to it."""
