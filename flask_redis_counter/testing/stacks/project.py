"""The Docker resources of a Compose project, found by their labels."""

from __future__ import annotations

import os
import secrets

from .docker import run_docker

#: pytest leaves this module's frames out of tracebacks, and shows the line of the test.
__tracebackhide__ = True

_LABEL = "com.docker.compose"


def make_project_name(prefix: str = "stack") -> str:
    """Return a unique name for a Compose project.

    :param prefix: the start of the name.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    return f"{prefix}-{worker}-{secrets.token_hex(4)}"


def list_containers(project: str, service: str) -> list[str]:
    """Return the ids of a service's containers, running or not, ordered by their number."""
    labels = [
        f"{_LABEL}.project={project}",
        f"{_LABEL}.service={service}",
        f"{_LABEL}.oneoff=False",
    ]
    filters = [f"--filter=label={label}" for label in labels]
    # Not `docker compose ps`: it parses all files each time, and takes ten times as long.
    number = f'{{{{.Label "{_LABEL}.container-number"}}}} {{{{.ID}}}}'
    lines = run_docker("docker", "ps", "--all", f"--format={number}", *filters).splitlines()
    return [line.split()[1] for line in sorted(lines, key=lambda line: int(line.split()[0]))]


def list_config_files(project: str) -> set[str]:
    """Return the Compose files of a project's containers, as comma-separated lists."""
    output = run_docker(
        "docker",
        "ps",
        "--all",
        f"--filter=label={_LABEL}.project={project}",
        f'--format={{{{.Label "{_LABEL}.project.config_files"}}}}',
    )
    return set(output.splitlines())


def find_one_shot_services(project: str) -> frozenset[str]:
    """Return the services on which others depend as ``service_completed_successfully``."""
    condition = f'{{{{.Label "{_LABEL}.depends_on"}}}}'  # service:condition:restart,...
    label = f"--filter=label={_LABEL}.project={project}"
    output = run_docker("docker", "ps", "--all", f"--format={condition}", label)
    dependencies = [one.split(":") for one in output.replace(",", "\n").split()]
    completed = "service_completed_successfully"
    return frozenset(name for name, waits_for, *_ in dependencies if waits_for == completed)


def list_images(project: str) -> list[str]:
    """Return the images that Compose built for a project and named after it."""
    # Not `down --rmi=local`, which also removes images for which the Compose file sets a name.
    label = f"--filter=label={_LABEL}.project={project}"
    name = f"--filter=reference={project}-*"
    format_ = "--format={{.Repository}}:{{.Tag}}"
    return run_docker("docker", "image", "ls", label, name, format_).split()


def list_leftovers(project: str) -> list[str]:
    """Return the containers, networks, volumes and images of a project that still exist."""
    label = f"label={_LABEL}.project={project}"
    return [f"image {name}" for name in list_images(project)] + [
        f"{kind} {name}"
        for kind, listing in (
            ("container", ("ps", "--all")),
            ("network", ("network", "ls")),
            ("volume", ("volume", "ls")),
        )
        for name in run_docker("docker", *listing, "--quiet", "--filter", label).split()
    ]
