"""The plane's own workloads as objects of a cluster: what runs, where it keeps what it knows, who may reach it.

What they are told stands in the platform file's `kubernetes`. Rules, dashboards, drills and the like are rendered by
the folders that know them; whoever installs applies both.
"""
