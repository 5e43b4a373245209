"""The work of the child processes: one module for each library, so that a child imports only that."""
