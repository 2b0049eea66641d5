"""The stream while its driver, its Java and its executors are killed, against the senders' ledger."""
