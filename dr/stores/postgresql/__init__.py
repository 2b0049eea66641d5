"""PostgreSQL that others run: watched and promoted by SQL, fenced and re-routed by the site's own commands."""
