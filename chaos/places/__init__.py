"""Where experiments act: the running plane on this machine, or a namespace of a cluster."""
