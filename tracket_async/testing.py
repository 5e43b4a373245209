"""The doors for tests: a pytest plugin with an emulator fixture."""
