"""Where changes are read: one module each with a `collect`; a new module is asked by being here."""
