"""The roof: the command line, commands that need several folders, and the plane on this machine."""
