"""Promotion: what a version has to show before it becomes champion, who moved the alias, and who went around that."""
