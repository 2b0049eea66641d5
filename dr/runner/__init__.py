"""Running a drill: set up, observe, inject, wait, read back, judge, put away. The fault is a chaos experiment."""
