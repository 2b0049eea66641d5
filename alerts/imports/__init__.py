"""Objectives of other tools' files as a rule file: what cannot be translated is refused, never dropped."""
