"""Random StatefulSets and what happens to them, from a seed. As the cases' manifests and kubelets."""

from __future__ import annotations

import random

from controllers.memory_api import Tree
from controllers.random_rollout import NOT_READY, READY


class Numbered:
    """One StatefulSet and its life."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        pick = self._random.choice
        strategy: Tree = {"type": pick(("RollingUpdate", "RollingUpdate", "RollingUpdate", "OnDelete"))}
        if strategy["type"] == "RollingUpdate" and self._random.random() < 0.6:
            strategy["rollingUpdate"] = {"partition": pick((0, 1, 2))}
        self._spec: Tree = {
            "replicas": pick((1, 2, 3, 5)),
            "podManagementPolicy": pick(("OrderedReady", "OrderedReady", "Parallel")),
            "updateStrategy": strategy,
            "serviceName": "web",
            "selector": {"matchLabels": {"app": "web"}},
        }
        if self._random.random() < 0.2:
            self._spec["ordinals"] = {"start": pick((1, 3))}
        self._image = "v1"

    def begin(self) -> Tree:
        return {"apply": [self._set()]}

    def change(self) -> Tree:
        """Something that people do, or pods."""
        match self._random.randrange(9):
            case 0 | 1:
                self._image = self._random.choice(("v1", "v2", "v3"))
                return {"apply": [self._set()]}
            case 2:
                self._spec["replicas"] = self._random.choice((0, 1, 2, 4, 6))
                return {"apply": [self._set()]}
            case 3:
                return {"play": [{"select": {"terminating": True}, "finish": True}]}
            case 4:
                count = self._random.randint(1, 2)
                serving = {"ready": True, "terminating": False}
                return {"play": [{"select": serving, "count": count, "status": NOT_READY}]}
            case _:
                waiting = {"ready": False, "terminating": False}
                count = self._random.choice((1, 99))
                return {"play": [{"select": waiting, "count": count, "node": "node-a", "status": READY}]}

    def _set(self) -> Tree:
        containers = [{"name": "c", "image": self._image}]
        template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}
        spec = {**self._spec, "template": template}
        return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"}, "spec": spec}
