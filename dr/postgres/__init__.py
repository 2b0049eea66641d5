"""PostgreSQL as all kinds of stores that are PostgreSQL need it: bounded statements, the observer's client, the lag."""
