"""Judgement: pure statistics over what was observed, with thin input and output at the edge."""
