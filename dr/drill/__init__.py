"""What a drill has seen, and what that shows: facts, ledgers of them, and the judge. It injects and recovers nothing.

`facts` are what the observer and the recoverer note, `ledger` is their file, `client` is a store as clients see it, and
`judge`, with `times` and `losses`, makes the verdict from them.
"""
