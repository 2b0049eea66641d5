"""Any store, by the commands that the platform file names."""
