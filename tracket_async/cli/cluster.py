"""``tracket export --dask`` and ``--workers``: the options, and the export by several processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import attrs
from cyclopts import Group, Parameter

from tracket_async._http.session import SessionStatistics
from tracket_async.cli import exits
from tracket_async.cli.options import Connection
from tracket_async.cli.progress import Reporting
from tracket_async.client import TracketClient
from tracket_async.errors import UsageError
from tracket_async.export.formats import FileOptions, TargetFormat
from tracket_async.export.phases import Settings
from tracket_async.export.postgres import PostgresTable
from tracket_async.export.progress import ExportResult
from tracket_async.export.store import ExportRequest

if TYPE_CHECKING:
    from tracket_async.integrations.dask import ClusterStatus

CONCURRENCY: Final = 4
"""Requests of one process at a time, at most: there are several processes."""

_File = Annotated[Path | None, Parameter(metavar="FILE", show_default=False)]


def _one_or_more(_type: Any, value: int | None) -> None:
    if value is not None and value < 1:
        raise ValueError("It must be at least 1")


@Parameter(name="*", group=Group("Several processes", sort_key=3))
@attrs.frozen(kw_only=True)
class Cluster:
    """The options for an export by several processes (the extra dask)."""

    dask: Annotated[
        str | None,
        Parameter(
            metavar="ADDRESS",
            show_default=False,
            help="Export by the workers of the Dask scheduler at tcp://127.0.0.1:8786 (this machine alone) or"
            " tls://HOST:8786.",
        ),
    ] = None
    workers: Annotated[
        int | None,
        Parameter(
            metavar="N",
            validator=_one_or_more,
            show_default=False,
            help="Export by so many processes of this machine, which are started for it.",
        ),
    ] = None
    parts: Annotated[
        Path | None,
        Parameter(
            metavar="FOLDER",
            show_default=False,
            help="Keep what is fetched in this folder until all files are complete; all workers share it, under the"
            " same path. Default, with --workers: beside the first file.",
        ),
    ] = None
    tls_ca: Annotated[_File, Parameter(help="The certificate authority of the cluster, for tls://.")] = None
    tls_cert: Annotated[_File, Parameter(help="The certificate of this process, for tls://.")] = None
    tls_key: Annotated[_File, Parameter(help="The private key of this process, for tls://.")] = None

    @property
    def is_given(self) -> bool:
        """Return whether several processes are asked for.

        Raises:
            UsageError: an option has no meaning without another, or contradicts it.
        """
        files = (self.tls_ca, self.tls_cert, self.tls_key)
        if any(files) and not all(files):
            raise UsageError("TLS needs three files. Give --tls-ca, --tls-cert and --tls-key")
        if self.dask is None and (any(files) or (self.parts is not None and self.workers is None)):
            raise UsageError("--parts is for --dask or --workers, and --tls-ca, --tls-cert and --tls-key for --dask")
        if self.dask is not None and self.workers is not None:
            raise UsageError("--dask and --workers contradict each other. Give one of them")
        if self.dask is not None and self.parts is None:
            raise UsageError("--dask needs a folder that all workers share. Give --parts FOLDER")
        return self.dask is not None or self.workers is not None


ALONE: Final = Cluster()


def _has_parts(folder: Path, _error: BaseException) -> bool:
    return any(folder.glob("*.parquet"))


class ClusterExport:
    """One export by several processes, with the arguments of `export_to_files`.

    Args:
        cluster: the options, of which ``is_given`` is true.
        connection: which server.
        place: the path of the store, beside which the parts are if no folder is given.
    """

    def __init__(self, cluster: Cluster, connection: Connection, place: Path) -> None:
        self._cluster = cluster
        self._environ = connection.settings(os.environ)
        self._trust_env = not connection.no_proxy
        self._folder = cluster.parts or place.with_name(f"{place.name}.parts")
        self._status: ClusterStatus | None = None
        self.client = TracketClient.from_env(self._environ, trust_env=self._trust_env)

    def statistics(self) -> SessionStatistics:
        """Return the statistics of all processes, as far as they are known."""
        found = self.client.statistics()
        return found if self._status is None else attrs.evolve(found, paused_for=self._status.paused_for)

    def _keep(self, status: ClusterStatus) -> None:
        self._status = status

    async def __call__(
        self,
        _client: TracketClient,
        targets: Mapping[str | Path | PostgresTable, TargetFormat],
        request: ExportRequest,
        settings: Settings,
        *,
        file_options: FileOptions,
        store: Path,
        keep_store: bool,
    ) -> ExportResult:
        """Export to files, as `export_to_files`."""
        from tracket_async.integrations import dask

        cluster, tls = self._cluster, None
        if cluster.tls_ca is not None and cluster.tls_cert is not None and cluster.tls_key is not None:
            tls = dask.TLSFiles(ca=cluster.tls_ca, cert=cluster.tls_cert, key=cluster.tls_key)
        with exits.keeping(self._folder, _has_parts):
            result = await dask.export(
                self._environ,
                targets,
                request,
                folder=self._folder,
                scheduler=cluster.dask,
                workers=cluster.workers,
                tls=tls,
                trust_env=self._trust_env,
                how=attrs.evolve(settings, concurrency=min(settings.concurrency, CONCURRENCY)),
                on_status=self._keep,
                file_options=file_options,
                store=store,
                keep_store=keep_store,
            )
        if cluster.parts is None:
            with contextlib.suppress(OSError):  # parts in doubt stay
                self._folder.rmdir()
        return result

    def say(self, reporting: Reporting) -> None:
        """Say in a line how the processes have worked, as far as anything is to be said."""
        if (found := self._status) is not None:
            tokens = "1 token call" if found.token_calls == 1 else f"{found.token_calls:,} token calls"
            requests = f"{found.permits:,}, {found.refusals:,} of them answered 429"
            reporting.say(f"Parts: {found.parts:,}; workers: {found.workers:,}; requests: {requests}; {tokens}.")
