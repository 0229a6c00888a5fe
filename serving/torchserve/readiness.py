"""Golden predictions through TorchServe: a version is ready when it answers right, not when /ping says so.

/ping is 200 before any model is loaded, looks at default versions only, and stays 200 while a worker cannot start
(0.12). So every version is asked, by its number, through the port that clients' requests take.
"""

from __future__ import annotations

from serving.golden import read_golden, refuse_other
from serving.torchserve.management import ManagementClient
from slipway.repository import Repository


def check_version(client: ManagementClient, repository: Repository, model: str, version: int, timeout: float) -> None:
    """Asks one version. Raises VersionLoadFailed for another answer, and what ManagementClient.predict raises."""
    golden = read_golden(repository, model, version)
    answer = client.predict(model, version, golden.image, timeout, golden.parameters)
    refuse_other(f"{model} version {version}", golden.record, answer)
