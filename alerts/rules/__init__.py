"""Alerting rules: the shipped ones, those made from sections of the platform file, and those of teams."""
