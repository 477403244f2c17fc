"""`metaclip cluster`: definitions of a cluster from a site's parameters, and whether they hold."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from ray_jobs.options import guarded

SiteFile = Annotated[Path, typer.Argument(metavar="SITE", help="A site's parameters, as those in cluster/sites.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")]
Crd = Annotated[
    Path | None,
    typer.Option("--crd", metavar="PATH", help="KubeRay's custom resource definitions, a file or a folder of them."),
]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Nodes beside the head, which runs no tasks.")]
Cpus = Annotated[int, typer.Option("--cpus", min=1, help="Of each worker, as Ray counts them.")]
ObjectStore = Annotated[int, typer.Option("--object-store-mb", min=80, help="Of each node.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Where the head listens.")]
DashboardPort = Annotated[int, typer.Option("--dashboard-port", min=1, max=65535, help="Where jobs are submitted.")]

app = typer.Typer(help="Definitions of a Ray cluster: AWS, GCP, Kubernetes.", no_args_is_help=True)


@app.command("render")
def render_command(site: SiteFile, out: Out = Path("cluster/rendered")) -> None:
    """Write the definitions of a site, and the cluster's token where it has none yet."""
    from pipelines.definitions import make_token, read_site, render

    read = read_site(site)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in render(read).items():
        (out / name).write_text(text, encoding="utf-8")
        typer.echo(str(out / name))
    typer.echo(f"token: {make_token(read.name)}")


@app.command("check")
def check_command(site: SiteFile, crd: Crd = None) -> None:
    """Check what a site's parameters make, against schemas and what jobs rely on; exit with 1 if anything is wrong."""
    from pipelines.definition_checks import check_files
    from pipelines.definitions import read_site, render

    files = render(read_site(site))
    problems = check_files(files, definitions=crd)
    for problem in problems:
        typer.echo(f"WRONG {problem}")
    if problems:
        raise typer.Exit(1)
    for name in files:
        typer.echo(f"ok    {name}")
    if crd is None and any(name.startswith("kubernetes") for name in files):
        typer.echo("KubeRay's own fields were not checked: give --crd")


@app.command("local")
def local_command(
    workers: Workers = 2,
    cpus: Cpus = 4,
    object_store_mb: ObjectStore = 256,
    port: Port = 6379,
    dashboard_port: DashboardPort = 8265,
) -> None:
    """Start a cluster of processes on this machine, on loopback and with a token, until it is interrupted."""
    from pipelines.local_cluster import LocalCluster, running

    cluster = LocalCluster(
        workers=workers, cpus=cpus, object_store_mb=object_store_mb, port=port, dashboard_port=dashboard_port
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with running(cluster) as environment:
        typer.echo(f"dashboard: {cluster.dashboard}")
        for name, value in environment.items():
            typer.echo(f"export {name}={value}")
        typer.echo("Ctrl-C ends it", err=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    guarded(app)
