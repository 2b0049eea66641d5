"""Running an experiment: the command's side, the watchdog below it, and the runner below that."""
