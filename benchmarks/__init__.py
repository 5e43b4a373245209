"""The figures of docs/pages/explanation/performance.md, measured as ratios in one run: ``python -m benchmarks``."""
