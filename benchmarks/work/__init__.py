"""What is run in the child processes: one module for each way of doing it, so that a child imports only that."""
