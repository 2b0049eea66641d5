"""The explanation service: what each feature added to a model's answer, over HTTP, and how exactly that is known.

`permutations` and `explanation` are arithmetic. `models` has a module for each kind of model, `service` answers.
"""
