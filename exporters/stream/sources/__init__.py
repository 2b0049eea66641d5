"""Where records come from, one kind a module; each gives Spark's streaming frame with the columns of `records`."""
