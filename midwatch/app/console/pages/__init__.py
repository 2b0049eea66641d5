"""The pages of the console, one a module: each has `build`, which fills its template from the state and queries."""
