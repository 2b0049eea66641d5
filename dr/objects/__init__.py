"""Folders of files or objects: copies with checksums, and recovery from them."""
