"""Folders of files that are written once: copies with checksums, and recovery from them."""
