"""Pods for tests, from a few words."""

from __future__ import annotations

from typing import Any

from fairway.kube.podspec import NODE_POD, NodePod


def container(name: str = "main", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "command": ["sleep", "60"], **fields}


def pod(*containers: dict[str, Any], meta: dict[str, Any] | None = None, **spec: Any) -> NodePod:
    tree = {
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1", **(meta or {})},
        "spec": {"nodeName": "node-a", "containers": list(containers) or [container()], **spec},
    }
    tree["status"] = tree["spec"].pop("status", {})
    return NODE_POD.decode(tree)
