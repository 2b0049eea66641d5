"""Recordings of real programs for the systems' folders: a module each, found by looking here.

Each module has `SYSTEM`, the folder it records for, `programs()`, the programs of it that are here, by version, and
`record(program, folder)`, the expositions of one: before it did anything under "-idle", after that under "".
"""
