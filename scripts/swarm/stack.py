"""Turn `docker compose config --format json` (stdin) into what `docker stack deploy` takes, with the services named as
arguments. scripts/swarm-deploy.sh runs this in a container; it needs only the standard library.
"""

import json
import sys
from typing import Any

# What a swarm ignores with a warning, or refuses. no-new-privileges is the engine's to set there (docs/scaling.md).
_UNKNOWN = ("build", "depends_on", "profiles", "pull_policy", "restart", "security_opt")


def service(config: dict[str, Any]) -> dict[str, Any]:
    """Return a service as a swarm knows it."""
    config = {key: value for key, value in config.items() if key not in _UNKNOWN and value is not None}
    # A secret that stood in the environment as well would win there, and be shown to whoever may inspect the service.
    secret = {each["target"].upper() for each in config["secrets"]}
    environment = config["environment"].items()
    config["environment"] = {name: value for name, value in environment if value is not None and name not in secret}
    # `tmpfs` is ignored, the mount of that type is not.
    config["volumes"] = [{"type": "tmpfs", "target": path} for path in config.pop("tmpfs")]
    limits = config["deploy"]["resources"]["limits"]
    limits |= {name: str(value) for name, value in limits.items()}
    # A swarm publishes on every address of every node. Whoever did not ask for that gets the name `api` in the stack's
    # network: every replica's address by DNS, so that a proxy there sees them all.
    ports = [port for port in config.pop("ports", []) if port.get("host_ip", "0.0.0.0") == "0.0.0.0"]  # noqa: S104
    if ports:
        config["ports"] = [{**port, "published": int(port["published"])} for port in ports]
        for port in config["ports"]:
            port.pop("host_ip", None)
    else:
        config["deploy"]["endpoint_mode"] = "dnsrr"
    return config


def stack(config: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the stack with the services of these names."""
    networks = config["networks"]
    for network in networks.values():
        if not network.get("external"):
            network.clear()
            network |= {"driver": "overlay", "attachable": True}
    services = {name: service(config["services"][name]) for name in names}
    used = {each["source"] for one in services.values() for each in one.get("secrets", [])}
    secrets = {
        name: secret for name, secret in config["secrets"].items() if name in used
    }  # the others are of the build
    return {"networks": networks, "secrets": secrets, "configs": config["configs"], "services": services}


if __name__ == "__main__":
    json.dump(stack(json.load(sys.stdin), sys.argv[1:]), sys.stdout)
