"""``tdedge report``: result files as tables and a page, several of them together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tdedge.cli import options as opt
from tdedge.cli.output import Output
from tdedge.errors import UsageError


def report(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULT.json...", help="Files that tdedge bench --output wrote.")
    ],
    page: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write an HTML page with plots.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as Markdown.")] = None,
    node_data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the times of operators for model-explorer."),
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Benchmark",
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Show one result, or compare those of several runs or devices."""
    output = Output(json=json, quiet=quiet)
    for path in (page, markdown):
        if path is not None and path.exists() and not force:
            raise UsageError(f"{path} exists; pass --force to replace it")
    names = [path.stem for path in results]
    if len(set(names)) != len(names):
        names = [str(path) for path in results]
    if len(set(names)) != len(names):
        raise UsageError("the same result is given twice; give each once")

    from tdedge.report import results as files

    documents = {name: files.read(path) for name, path in zip(names, results, strict=True)}
    document = files.merged(documents)
    found = files.Results.of(document)
    if len(documents) > 1:
        output.table(files.side_by_side(documents).table())
    for table in found.tables():
        output.table(table)
    for warning in found.warnings():
        output.note(f"warning: {warning}")
    files.write(found, title, page=page, markdown=markdown, node_data=node_data, force=force)
    output.document(document)
