"""PostgreSQL: bounded statements, instances on this machine, backups, and the cluster they form."""
