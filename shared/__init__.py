"""The contract of the two services: what an event is, what an amount means, how both are spelled."""
