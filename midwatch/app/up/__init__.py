"""A local stack: real programs as processes, on free loopback ports, under one state folder."""
