"""The learner: one batch at a time through decision, replay, loss, update and records."""
