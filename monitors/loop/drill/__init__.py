"""A drill of the loop: a known drift in a marked copy of a model's traffic, followed until a better version serves it.

`facts` are what a drill sees and does, `judge` makes the verdict from them and asks nobody, `run` drives a drill, and
`kept` puts away what it has shown. A copy goes to a model of its own: the real one is neither drifted nor retrained.
"""
