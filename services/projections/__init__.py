"""The read side: events in, rows and pages out."""
