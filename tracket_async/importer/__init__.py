"""Import files of worklogs, and apply files of changes and deletions.

An import is crash safe. The whole file is validated before anything is sent. A journal next to the file then records
each row twice: before the row is sent, with an fsync, so that no request leaves this process unrecorded; and when its
outcome is known. Whatever ends the process, power cut included, the same command reads the journal and goes on: a row
without an entry was not sent, a row with an outcome is done, and a row that was sent and has no outcome is unresolved.
An unresolved row may have been created. It is looked for on the server: the same user, item, date, minutes and
description, created since it was sent. If it is found, its id is recorded; otherwise it is reported as ambiguous and
is not sent again unless the user says so. So no row is lost and none is created twice. The journal is locked while an
import runs, belongs to one content of the file, one server and one account, and an unfinished last line is cut off.
"""
