"""Disaster recovery: drills that measure RTO and RPO, and the recoverer that they measure.

`drill` is what a drill has seen and the judge of it. `recoverer` brings a store back. `stores` has a folder per kind of
store. `runner` runs a drill, `posture` watches the stores between drills, and `drill_log` keeps what drills have shown.
"""
