"""Sums of worklogs: hours by day, week, month, person and so on, as rows and as a page for a browser.

Read the files in this order:

1. `source`: the worklogs of a store or of an export file, as a table of an in-memory DuckDB.
2. `sums`: their hours by one or two dimensions, and the cube of sums that the page holds.
3. `page`: one self-contained HTML file, made of ``page.html``, ``page.css`` and ``page.js``.
"""
