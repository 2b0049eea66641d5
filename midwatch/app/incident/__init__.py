"""`midwatch explain`: collects changes and counts around an alert, and says which change most likely caused it."""
