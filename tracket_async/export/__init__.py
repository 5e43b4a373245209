"""Exports into files and stores, and stores brought up to date.

Read the files in this order:

1. `run` and `sync`: what a caller uses. An export is fetched into a store, checked against the server and written to
   files; a sync updates a store.
2. `phases`: fetch, check and compare, the work of both. `source`: their requests, which outlive an outage.
3. `store`: worklogs and progress, committed together in one DuckDB file. `tables`: its columns and SQL. `database`:
   private files of DuckDB.
4. `writers`: files made of a store. `postgres`: a table brought to it. `text`: NDJSON and CSV, also for streams
   without a store.
5. `progress`: progress reports and results.
"""
