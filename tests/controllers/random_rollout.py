"""Random Deployments and what people do to them, from a seed. As the cases' manifests and kubelets."""

from __future__ import annotations

import random

from controllers.memory_api import Tree

READY = {
    "phase": "Running",
    "podIP": "${ip}",
    "podIPs": [{"ip": "${ip}"}],
    "conditions": [{"type": "Ready", "status": "True"}],
}
NOT_READY = {**READY, "conditions": [{"type": "Ready", "status": "False"}]}


class Rollout:
    """One Deployment and its life."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        pick = self._random.choice
        strategy: Tree = {"type": "Recreate"}
        if self._random.random() < 0.8:
            surge = pick((0, 1, 2, "25%", "50%"))
            rolling = {"maxSurge": surge, "maxUnavailable": pick((1, 2, "25%") if surge == 0 else (0, 1, 2, "25%"))}
            strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
        self._spec: Tree = {
            "replicas": pick((1, 2, 3, 5, 10)),
            "strategy": strategy,
            "revisionHistoryLimit": pick((0, 1, 10)),
            "selector": {"matchLabels": {"app": "web"}},
        }
        self._image = "v1"
        self._annotations: dict[str, str] = {}

    def begin(self) -> Tree:
        return {"apply": [self._deployment()], "play": []}

    def change(self) -> Tree:
        """Something that people do, or pods."""
        step: Tree = {"apply": [], "play": [], "delete": []}
        match self._random.randrange(12):
            case 0 | 1:
                self._image = self._random.choice(("v1", "v2", "v3"))
                step["apply"].append(self._deployment())
            case 2:
                self._spec["replicas"] = self._random.choice((0, 1, 3, 4, 8))
                step["apply"].append(self._deployment())
            case 3:
                self._spec["paused"] = not self._spec.get("paused", False)
                step["apply"].append(self._deployment())
            case 4:
                self._annotations = {"note": str(self._random.randrange(9))}
                step["apply"].append(self._deployment())
            case _:
                step["play"].append(self._kubelet())
        return step

    def _kubelet(self) -> Tree:
        """To one pod of one template: what it does to the next ones would be a race."""
        select: Tree = {"image": self._random.choice(("v1", "v2", "v3", self._image, self._image))}
        match self._random.randrange(6):
            case 0:
                return {"select": {**select, "terminating": True}, "count": 1, "finish": True}
            case 1:
                held = {**select, "ready": False, "unassigned": False, "terminating": False}
                return {"select": held, "count": 1, "status": READY}
            case _:
                waiting = {**select, "unassigned": True, "terminating": False}
                status = self._random.choice((READY, READY, NOT_READY))
                return {"select": waiting, "count": 1, "node": "node-a", "status": status}

    def _deployment(self) -> Tree:
        containers = [{"name": "c", "image": self._image}]
        template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "annotations": dict(self._annotations)},
            "spec": {**self._spec, "template": template},
        }
