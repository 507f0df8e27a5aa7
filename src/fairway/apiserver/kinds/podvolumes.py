"""Validity of a pod's volumes, and of where its containers mount them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairway.apiserver import names, quantity
from fairway.apiserver.fielderrors import FieldError, duplicate, forbidden, invalid, not_found, required, unsupported
from fairway.apiserver.kinds.base import get
from fairway.apiserver.kinds.podfields import container_field_errors, object_field_errors
from fairway.apiserver.request import Json

_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_ONE = "may not specify more than 1 volume type"
_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_HOST_PATHS = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
_PULLS = ("Always", "IfNotPresent", "Never")
_SHORTEST_TOKEN, _LONGEST_TOKEN = 600, 1 << 32


# ---- paths ------------------------------------------------------------------------------------------------------
def backstep_errors(text: str, path: str) -> list[FieldError]:
    """No element of a path leads back."""
    return [invalid(path, text, "must not contain '..'")] if ".." in text.split("/") else []


def descending_errors(text: str, path: str) -> list[FieldError]:
    """A path below another one."""
    out = [invalid(path, text, "must be a relative path")] if text.startswith("/") else []
    return out + backstep_errors(text, path)


def local_path_errors(text: str, path: str) -> list[FieldError]:
    """A path of a file that a volume makes; names that begin with two dots are the volume's own."""
    out = descending_errors(text, path)
    if text.startswith("..") and not text.startswith("../"):
        out.append(invalid(path, text, "must not start with '..'"))
    return out


def _mode_errors(value: int | None, path: str) -> list[FieldError]:
    return [] if value is None or 0 <= value <= 0o777 else [invalid(path, value, _MODE)]


def _required(value: Any, path: str) -> list[FieldError]:
    return [] if value else [required(path)]


# ---- sources ----------------------------------------------------------------------------------------------------
def _item_errors(item: Json, path: str) -> list[FieldError]:
    out = _required(item.get("key"), f"{path}.key") + _required(item.get("path"), f"{path}.path")
    out += local_path_errors(item.get("path", ""), f"{path}.path")
    return out + _mode_errors(item.get("mode"), f"{path}.mode")


def _keyed_errors(source: Json, path: str, name: str) -> list[FieldError]:
    out = _required(source.get(name), f"{path}.{name}")
    out += _mode_errors(source.get("defaultMode"), f"{path}.defaultMode")
    for i, item in enumerate(source.get("items") or []):
        out += _item_errors(item, f"{path}.items[{i}]")
    return out


def _empty_dir_errors(source: Json, path: str) -> list[FieldError]:
    limit = source.get("sizeLimit")
    if limit is not None and quantity.parse(limit) < 0:
        return [forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def _host_path_errors(source: Json, path: str) -> list[FieldError]:
    text, kind = source.get("path", ""), source.get("type")
    if not text:
        return [required(f"{path}.path")]
    out = backstep_errors(text, f"{path}.path")
    if kind is not None and kind not in _HOST_PATHS:
        out.append(unsupported(f"{path}.type", kind, _HOST_PATHS))
    return out


def _nfs_errors(source: Json, path: str) -> list[FieldError]:
    out = _required(source.get("server"), f"{path}.server") + _required(source.get("path"), f"{path}.path")
    if not source.get("path", "").startswith("/"):
        out.append(invalid(f"{path}.path", source.get("path", ""), "must be an absolute path"))
    return out


def _file_errors(file: Json, path: str) -> list[FieldError]:
    """One file of the downward API."""
    out = _required(file.get("path"), f"{path}.path") + local_path_errors(file.get("path", ""), f"{path}.path")
    if file.get("fieldRef") is not None:
        out += object_field_errors(file["fieldRef"], f"{path}.fieldRef", _FIELDS)
        if file.get("resourceFieldRef") is not None:
            words = "fieldRef and resourceFieldRef can not be specified simultaneously"
            out.append(invalid(path, "resource", words))
    elif file.get("resourceFieldRef") is not None:
        out += container_field_errors(file["resourceFieldRef"], f"{path}.resourceFieldRef", named=True)
    else:
        out.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    return out + _mode_errors(file.get("mode"), f"{path}.mode")


def _downward_errors(source: Json, path: str) -> list[FieldError]:
    out = _mode_errors(source.get("defaultMode"), f"{path}.defaultMode")
    for file in source.get("items") or []:
        out += _file_errors(file, path)
    return out


def _token_errors(token: Json, path: str, parent: str) -> list[FieldError]:
    seconds, at = token.get("expirationSeconds", 0), f"{path}.expirationSeconds"
    out: list[FieldError] = []
    if seconds < _SHORTEST_TOKEN:
        out.append(invalid(at, seconds, "may not specify a duration less than 10 minutes"))
    if seconds > _LONGEST_TOKEN:
        out.append(invalid(at, seconds, "may not specify a duration larger than 2^32 seconds"))
    if not token.get("path"):
        return [*out, required(f"{parent}.path")]
    return out + local_path_errors(token["path"], f"{parent}.path")


def _projected_errors(volume: Json, path: str) -> list[FieldError]:
    out = _mode_errors(volume.get("defaultMode"), f"{path}.defaultMode")
    taken: set[str] = set()
    for i, source in enumerate(volume.get("sources") or []):
        at = f"{path}.sources[{i}]"
        kinds = [k for k, v in source.items() if v is not None]
        for kind in ("secret", "configMap"):
            if kind in kinds:
                out += _required(source[kind].get("name"), f"{at}.{kind}.name")
                for j, item in enumerate(source[kind].get("items") or []):
                    out += _item_errors(item, f"{at}.{kind}.items[{j}]")
                    out += _taken_errors(item, source[kind].get("name", ""), taken, path)
        for file in get(source, "downwardAPI", "items") or []:
            out += _file_errors(file, f"{at}.downwardAPI")
            out += _taken_errors(file, file.get("path", ""), taken, path)
        if "serviceAccountToken" in kinds:
            out += _token_errors(source["serviceAccountToken"], f"{at}.serviceAccountToken", path)
        if len(kinds) > 1:
            out.append(forbidden(at, "may not specify more than 1 volume type per source"))
    return out


def _taken_errors(item: Json, shown: str, taken: set[str], path: str) -> list[FieldError]:
    text = item.get("path", "")
    if not text:
        return []
    if text in taken:
        return [invalid(path, shown, "conflicting duplicate paths")]
    taken.add(text)
    return []


def _image_errors(source: Json, path: str) -> list[FieldError]:
    policy = source.get("pullPolicy", "")
    if not policy:
        return [required(f"{path}.pullPolicy")]
    return [] if policy in _PULLS else [unsupported(f"{path}.pullPolicy", policy, _PULLS)]


def _csi_errors(source: Json, path: str) -> list[FieldError]:
    driver, at = source.get("driver", ""), f"{path}.driver"
    if not driver:
        return [required(at)]
    out = [invalid(at, driver, "must be no more than 63 characters")] if len(driver) > 63 else []
    return out + [invalid(at, driver, m) for m in names.subdomain_errors(driver.lower())]


def _claim_errors(source: Json, path: str) -> list[FieldError]:
    return _required(source.get("claimName"), f"{path}.claimName")


def _ephemeral_errors(source: Json, path: str) -> list[FieldError]:
    return [] if source.get("volumeClaimTemplate") is not None else [required(f"{path}.volumeClaimTemplate")]


# In the order in which they are looked at: the first is the volume's, the others are too many.
_SOURCES: dict[str, Callable[[Json, str], list[FieldError]]] = {
    "emptyDir": _empty_dir_errors,
    "hostPath": _host_path_errors,
    "gitRepo": lambda s, p: (
        _required(s.get("repository"), f"{p}.repository") + descending_errors(s.get("directory", ""), f"{p}.directory")
    ),
    "gcePersistentDisk": lambda s, p: _required(s.get("pdName"), f"{p.rpartition('.')[0]}.persistentDisk.pdName"),
    "awsElasticBlockStore": lambda s, p: _required(s.get("volumeID"), f"{p}.volumeID"),
    "secret": lambda s, p: _keyed_errors(s, p, "secretName"),
    "nfs": _nfs_errors,
    "persistentVolumeClaim": _claim_errors,
    "downwardAPI": _downward_errors,
    "configMap": lambda s, p: _keyed_errors(s, p, "name"),
    "projected": _projected_errors,
    "csi": _csi_errors,
    "ephemeral": _ephemeral_errors,
    "image": _image_errors,
}


def _source_errors(volume: Json, path: str) -> list[FieldError]:
    given = [k for k, v in volume.items() if k != "name" and v is not None]
    known = [k for k in _SOURCES if k in given]
    others = [k for k in given if k not in _SOURCES]
    if not given:
        return [required(path, "must specify a volume type")]
    out: list[FieldError] = []
    for i, kind in enumerate((*known, *others)):
        at = f"{path}.{kind}"
        if i:
            out.append(forbidden(f"{path}.downwarAPI" if kind == "downwardAPI" else at, _ONE))
        elif kind in _SOURCES:
            out += _SOURCES[kind](volume[kind], at)
    return out


def volume_errors(volumes: list[Json], path: str) -> tuple[dict[str, Json], list[FieldError]]:
    """ValidateVolumes: those that are well, by name, and what is wrong with the others."""
    out: list[FieldError] = []
    good: dict[str, Json] = {}
    for i, volume in enumerate(volumes):
        at, name = f"{path}[{i}]", volume.get("name", "")
        wrong = _source_errors(volume, at)
        if not name:
            wrong.append(required(f"{at}.name"))
        else:
            wrong += [invalid(f"{at}.name", name, m) for m in names.dns_label_errors(name)]
        if name in good:
            wrong.append(duplicate(f"{at}.name", name))
        if wrong:
            out += wrong
        else:
            good[name] = volume
    return good, out


# ---- mounts -----------------------------------------------------------------------------------------------------
def mount_errors(container: Json, path: str, volumes: dict[str, Json]) -> list[FieldError]:
    """ValidateVolumeMounts."""
    devices = {d.get("name", ""): d.get("devicePath", "") for d in container.get("volumeDevices") or []}
    out: list[FieldError] = []
    seen: set[str] = set()
    for i, mount in enumerate(container.get("volumeMounts") or []):
        at, name, where = f"{path}[{i}]", mount.get("name", ""), mount.get("mountPath", "")
        out += _required(name, f"{at}.name")
        if name not in volumes:
            out.append(not_found(f"{at}.name", name))
        out += _required(where, f"{at}.mountPath")
        if where in seen:
            out.append(invalid(f"{at}.mountPath", where, "must be unique"))
        seen.add(where)
        if name in devices:
            out.append(invalid(f"{at}.name", name, "must not already exist in volumeDevices"))
        if where in devices.values():
            out.append(invalid(f"{at}.mountPath", where, "must not already exist as a path in volumeDevices"))
        out += _sub_path_errors(mount, at, path)
        out += _propagation_errors(mount, container, path)
    return out


def _sub_path_errors(mount: Json, at: str, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    plain, pattern = mount.get("subPath", ""), mount.get("subPathExpr", "")
    if plain:
        out += descending_errors(plain, f"{path}.subPath")
    if pattern:
        if plain:
            out.append(invalid(f"{at}.subPathExpr", pattern, "subPathExpr and subPath are mutually exclusive"))
        out += descending_errors(pattern, f"{path}.subPathExpr")
    return out


def _propagation_errors(mount: Json, container: Json, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    way, at = mount.get("mountPropagation"), f"{path}.mountPropagation"
    if way is not None and way not in ("Bidirectional", "HostToContainer", "None"):
        out.append(unsupported(at, way, ("Bidirectional", "HostToContainer", "None")))
    if way == "Bidirectional" and not get(container, "securityContext", "privileged"):
        out.append(forbidden(at, "Bidirectional mount propagation is available only to privileged containers"))
    deep, at = mount.get("recursiveReadOnly"), f"{path}.recursiveReadOnly"
    if deep in (None, "Disabled"):
        return out
    if deep not in ("Enabled", "IfPossible"):
        return [*out, unsupported(at, deep, ("Disabled", "Enabled", "IfPossible"))]
    if not mount.get("readOnly"):
        out.append(forbidden(at, "may only be specified when readOnly is true"))
    if way not in (None, "None"):
        out.append(forbidden(at, "may only be specified when mountPropagation is None or not specified"))
    return out


def device_errors(container: Json, path: str, volumes: dict[str, Json]) -> list[FieldError]:
    """ValidateVolumeDevices."""
    mounts = {m.get("name", ""): m.get("mountPath", "") for m in container.get("volumeMounts") or []}
    out: list[FieldError] = []
    names_seen: set[str] = set()
    paths_seen: set[str] = set()
    for i, device in enumerate(container.get("volumeDevices") or []):
        at, name, where = f"{path}[{i}]", device.get("name", ""), device.get("devicePath", "")
        out += _device_name_errors(name, f"{at}.name", volumes, names_seen)
        out += _required(where, f"{at}.devicePath")
        if where in paths_seen:
            out.append(invalid(f"{at}.devicePath", where, "must be unique"))
        if where and backstep_errors(where, path):
            out.append(invalid(f"{at}.devicePath", where, "can not contain backsteps ('..')"))
        else:
            paths_seen.add(where)
        if name in mounts:
            out.append(invalid(f"{at}.name", name, "must not already exist in volumeMounts"))
        if where in mounts.values():
            out.append(invalid(f"{at}.devicePath", where, "must not already exist as a path in volumeMounts"))
        names_seen |= {name} - {""}
    return out


def _device_name_errors(name: str, path: str, volumes: dict[str, Json], seen: set[str]) -> list[FieldError]:
    out = _required(name, path)
    if name in seen:
        out.append(invalid(path, name, "must be unique"))
    if name not in volumes:
        out.append(not_found(path, name))
    elif not volumes[name].keys() & {"persistentVolumeClaim", "ephemeral"}:
        words = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
        out.append(invalid(path, name, words))
    return out
