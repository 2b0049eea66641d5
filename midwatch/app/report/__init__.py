"""Reports that people forward: what was promised and kept in a month, and what its alerts were worth."""
