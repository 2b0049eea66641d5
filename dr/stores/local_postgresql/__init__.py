"""PostgreSQL that Midwatch runs on this machine: two regions with an endpoint before them, an archive and backups."""
