"""Decides, remembers, dreams: evidence, identification, memory, snapshot, and the learner."""
