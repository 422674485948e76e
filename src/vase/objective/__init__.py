"""The objective: pure tensor functions, everything in nats."""
