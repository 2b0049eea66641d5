"""Between drills: how far behind each store's second copy is, and what could be restored if it were lost now."""
