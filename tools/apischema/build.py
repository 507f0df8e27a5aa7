#!/usr/bin/env python3
"""Make the data files of fairway.apiserver from the public API of Kubernetes (Apache-2.0; see NOTICE).

usage: build.py TYPES.json DOCUMENTS_FOLDER OUTPUT_FOLDER

TYPES.json is what `go run .` prints here (the fields of the Go types); DOCUMENTS_FOLDER holds one file for each
group version, as a real kube-apiserver answers `/openapi/v3/<group version>` (`api_v1.json`, `apis_apps_v1.json`, …).
Writes `types.json` (one row a type, with list types and keys for server-side apply) and `openapi.zip` (the documents
cut down to the kinds that Fairway serves). Needed only when the API moves to a new Kubernetes release.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

Json = dict[str, Any]

# k8s.io/api/apps/v1.Deployment is io.k8s.api.apps.v1.Deployment in OpenAPI; the table's key is apps.Deployment.
PACKAGES = {
    "api": "io.k8s.api",
    "meta": "io.k8s.apimachinery.pkg.apis.meta.v1",
    "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
    "apiregistration": "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1",
    "autoscalingv2": "io.k8s.api.autoscaling.v2",
}
DROPPED = re.compile(
    r"/(persistentvolumes|persistentvolumeclaims|resourcequotas|limitranges|componentstatuses|watch"
    r"|mutatingadmissionpolicies|mutatingadmissionpolicybindings|validatingadmissionpolicies"
    r"|validatingadmissionpolicybindings|csistoragecapacities|volumeattachments|volumeattributesclasses)\b"
    r"|/nodes/\{name\}/proxy"
)


def schemas_of(documents: dict[str, Json]) -> Json:
    found: Json = {}
    for document in documents.values():
        found.update(document["components"]["schemas"])
    return found


def definition(schemas: Json, key: str) -> Json:
    package, name = key.split(".")
    prefix = PACKAGES.get(package, f"io.k8s.api.{package}.v1")
    return schemas.get(f"{prefix}.{name}", {})


def list_type(prop: Json) -> list[Any] | None:
    """`None` for what is not special; ["set"], ["map", keys…], ["atomic"]."""
    kind = prop.get("x-kubernetes-list-type")
    if kind == "map":
        return ["map", *prop["x-kubernetes-list-map-keys"]]
    if kind is None and prop.get("x-kubernetes-map-type") == "atomic":
        return ["atomic"]
    return [kind] if kind in ("set", "atomic") else None


def build_types(types: dict[str, list[list[Any]]], schemas: Json) -> Json:
    out: Json = {}
    for key in sorted(types):
        found = definition(schemas, key)
        fields = []
        for name, go, kind, flags, number, strategy, merge_key in types[key]:
            prop = found.get("properties", {}).get(name, {})
            row = [name, go, kind, flags, number, strategy, merge_key, list_type(prop), prop.get("default")]
            while row[-1] in (None, "", {}):
                row.pop()
            fields.append(row)
        out[key] = {"fields": fields}
        if found.get("x-kubernetes-map-type") == "atomic":
            out[key]["atomic"] = True
    return out


def used_schemas(document: Json) -> set[str]:
    """Every schema that the remaining paths and kinds reach."""
    schemas, wanted = document["components"]["schemas"], set()
    queue = re.findall(r"#/components/schemas/([^\"]+)", json.dumps(document["paths"]))
    while queue:
        name = queue.pop()
        if name in wanted or name not in schemas:
            continue
        wanted.add(name)
        queue += re.findall(r"#/components/schemas/([^\"]+)", json.dumps(schemas[name]))
    return wanted


def cut(document: Json) -> Json:
    document["paths"] = {p: v for p, v in document["paths"].items() if not DROPPED.search(p)}
    wanted = used_schemas(document)
    document["components"]["schemas"] = {n: s for n, s in document["components"]["schemas"].items() if n in wanted}
    return document


def main() -> None:
    types_file, folder, output = (Path(a) for a in sys.argv[1:4])
    documents = {p.stem.removeprefix("oa-"): json.loads(p.read_text()) for p in sorted(folder.glob("oa-*.json"))}
    types = build_types(json.loads(types_file.read_text()), schemas_of(documents))
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in types.items())
    (output / "types.json").write_text("{\n" + lines + "\n}\n")
    with zipfile.ZipFile(output / "openapi.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, document in documents.items():
            info = zipfile.ZipInfo(name + ".json", (2026, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, json.dumps(cut(document), separators=(",", ":"), sort_keys=True), compresslevel=9)


if __name__ == "__main__":
    main()
