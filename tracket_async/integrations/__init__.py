"""Other products that tracket-async works with, each behind an extra of its own; nothing here is imported by the core."""
