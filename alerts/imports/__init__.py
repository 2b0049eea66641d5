"""Objectives of other tools are translated into a rule file: what has no translation is refused, never dropped."""
