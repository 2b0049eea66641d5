"""Commands that bring the folders together: init, check and render."""
