"""The version, where building, importing and a frozen app without metadata all find it."""

__version__ = "0.1.0"
