"""The whole plane on one machine: real programs as processes, on free loopback ports, under one state folder."""
