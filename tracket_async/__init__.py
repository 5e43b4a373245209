"""The asyncio client for Tracket."""
