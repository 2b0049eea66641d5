"""The recoverer: it watches a store, decides, fences, promotes or restores, re-routes, and makes it redundant again.

`loop` is what it does, `recovery` is what it needs of a kind of store, `lease` is what makes it the only one.
"""
