"""Worklogs on disk: the store that an export or a sync keeps, and the files that are made of it."""
