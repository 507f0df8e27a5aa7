"""Pod as the node that runs it reads it: commands, environment, volumes, probes, hooks, policies, and their defaults.

Wider than `fairway.kube.pod`, which controllers read; a node decodes only the few pods that are its own. Enums hold
what the API knows; what a machine can grant of it is decided in `fairway.pods`.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any, Final

import msgspec

from fairway.kube.decode import Kind, Raw
from fairway.kube.meta import schema_error

Text = dict[str, str]
Strange = dict[str, Any]
"""A part that this project never looks into."""


class RestartPolicy(Enum):
    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


class DnsPolicy(Enum):
    CLUSTER_FIRST = "ClusterFirst"
    CLUSTER_FIRST_WITH_HOST_NET = "ClusterFirstWithHostNet"
    DEFAULT = "Default"
    NONE = "None"


class TerminationMessagePolicy(Enum):
    FILE = "File"
    FALLBACK_TO_LOGS = "FallbackToLogsOnError"


class _Part(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A piece of the object: camelCase on the wire, unknown fields left out."""


class KeyRef(_Part, frozen=True):
    """One key of a ConfigMap or Secret."""

    key: str
    name: str = ""
    optional: bool | None = None


class FieldRef(_Part, frozen=True):
    field_path: str


class ResourceFieldRef(_Part, frozen=True):
    resource: str
    container_name: str = ""
    divisor: str | int | float = "0"


class EnvSource(_Part, frozen=True):
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None


class EnvVar(_Part, frozen=True):
    name: str
    value: str | None = None
    value_from: EnvSource | None = None


class SourceRef(_Part, frozen=True):
    name: str = ""
    optional: bool | None = None


class EnvFrom(_Part, frozen=True):
    prefix: str | None = None
    config_map_ref: SourceRef | None = None
    secret_ref: SourceRef | None = None


class ExecAction(_Part, frozen=True):
    command: tuple[str, ...] = ()


class HttpHeader(_Part, frozen=True):
    name: str
    value: str = ""


class HttpGetAction(_Part, frozen=True):
    port: int | str
    path: str | None = None
    host: str | None = None
    scheme: str | None = None
    http_headers: tuple[HttpHeader, ...] | None = None


class TcpSocketAction(_Part, frozen=True):
    port: int | str
    host: str | None = None


class GrpcAction(_Part, frozen=True):
    port: int
    service: str | None = None


class SleepAction(_Part, frozen=True):
    seconds: int = 0


class Probe(_Part, frozen=True):
    exec: ExecAction | None = None
    http_get: HttpGetAction | None = None
    tcp_socket: TcpSocketAction | None = None
    grpc: GrpcAction | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class Handler(_Part, frozen=True):
    """A lifecycle hook."""

    exec: ExecAction | None = None
    http_get: HttpGetAction | None = None
    tcp_socket: TcpSocketAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(_Part, frozen=True):
    post_start: Handler | None = None
    pre_stop: Handler | None = None


class Capabilities(_Part, frozen=True):
    add: tuple[str, ...] | None = None
    drop: tuple[str, ...] | None = None


class SecurityContext(_Part, frozen=True):
    """Of a container."""

    privileged: bool | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool | None = None
    allow_privilege_escalation: bool | None = None
    capabilities: Capabilities | None = None


class Sysctl(_Part, frozen=True):
    name: str
    value: str = ""


class PodSecurityContext(_Part, frozen=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    fs_group: int | None = None
    supplemental_groups: tuple[int, ...] | None = None
    sysctls: tuple[Sysctl, ...] | None = None


class VolumeMount(_Part, frozen=True):
    name: str
    mount_path: str
    read_only: bool | None = None
    sub_path: str | None = None
    sub_path_expr: str | None = None


class Limits(_Part, frozen=True):
    limits: dict[str, str | int | float] | None = None
    requests: dict[str, str | int | float] | None = None


class ContainerPort(_Part, frozen=True):
    container_port: int
    name: str | None = None
    protocol: str = "TCP"
    host_port: int | None = None
    host_ip: str | None = msgspec.field(name="hostIP", default=None)


class Container(_Part, frozen=True):
    name: str
    image: str = ""
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    working_dir: str | None = None
    env: tuple[EnvVar, ...] | None = None
    env_from: tuple[EnvFrom, ...] | None = None
    ports: tuple[ContainerPort, ...] | None = None
    volume_mounts: tuple[VolumeMount, ...] | None = None
    resources: Limits = Limits()
    security_context: SecurityContext = SecurityContext()
    lifecycle: Lifecycle = Lifecycle()
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    restart_policy: str | None = None
    stdin: bool | None = None
    stdin_once: bool | None = None
    tty: bool | None = None
    target_container_name: str = ""
    """Of an ephemeral container: whose processes it sees."""
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: TerminationMessagePolicy = TerminationMessagePolicy.FILE

    @property
    def is_sidecar(self) -> bool:
        """An init container that keeps running (KEP-753)."""
        return self.restart_policy == "Always"


class KeyToPath(_Part, frozen=True):
    key: str
    path: str
    mode: int | None = None


class ConfigMapVolume(_Part, frozen=True):
    name: str = ""
    items: tuple[KeyToPath, ...] | None = None
    default_mode: int | None = None
    optional: bool | None = None


class SecretVolume(_Part, frozen=True):
    secret_name: str = ""
    items: tuple[KeyToPath, ...] | None = None
    default_mode: int | None = None
    optional: bool | None = None


class DownwardFile(_Part, frozen=True):
    path: str
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    mode: int | None = None


class DownwardVolume(_Part, frozen=True):
    items: tuple[DownwardFile, ...] | None = None
    default_mode: int | None = None


class TokenProjection(_Part, frozen=True):
    path: str
    audience: str | None = None
    expiration_seconds: int = 3600


class SecretProjection(_Part, frozen=True):
    name: str = ""
    items: tuple[KeyToPath, ...] | None = None
    optional: bool | None = None


class Projection(_Part, frozen=True):
    config_map: ConfigMapVolume | None = None
    secret: SecretProjection | None = None
    downward_api: DownwardVolume | None = msgspec.field(name="downwardAPI", default=None)
    service_account_token: TokenProjection | None = None


class ProjectedVolume(_Part, frozen=True):
    sources: tuple[Projection, ...] | None = None
    default_mode: int | None = None


class EmptyDir(_Part, frozen=True):
    medium: str = ""
    size_limit: str | int | float | None = None


class HostPath(_Part, frozen=True):
    path: str
    type: str | None = None


class Volume(_Part, frozen=True):
    """One of its sources is set. Those that come after `host_path` are known by name alone: no node here has them."""

    name: str
    empty_dir: EmptyDir | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    downward_api: DownwardVolume | None = msgspec.field(name="downwardAPI", default=None)
    projected: ProjectedVolume | None = None
    host_path: HostPath | None = None
    persistent_volume_claim: Strange | None = None
    csi: Strange | None = None
    ephemeral: Strange | None = None
    image: Strange | None = None
    nfs: Strange | None = None
    iscsi: Strange | None = None
    fc: Strange | None = None
    git_repo: Strange | None = None
    flex_volume: Strange | None = None

    @property
    def foreign_kind(self) -> str:
        """The source, as YAML has it, of a volume that is none of the first six; empty otherwise."""
        own = ("empty_dir", "config_map", "secret", "downward_api", "projected", "host_path")
        if any(getattr(self, one) is not None for one in own):
            return ""
        names = zip(self.__struct_fields__, self.__struct_encode_fields__, strict=True)
        return next((shown for name, shown in names if name != "name" and getattr(self, name) is not None), "unknown")


class HostAlias(_Part, frozen=True):
    ip: str
    hostnames: tuple[str, ...] | None = None


class DnsOption(_Part, frozen=True):
    name: str
    value: str | None = None


class DnsConfig(_Part, frozen=True):
    nameservers: tuple[str, ...] | None = None
    searches: tuple[str, ...] | None = None
    options: tuple[DnsOption, ...] | None = None


class ReadinessGate(_Part, frozen=True):
    condition_type: str


class PodOs(_Part, frozen=True):
    name: str = ""


class PodSpec(_Part, frozen=True):
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = None
    ephemeral_containers: tuple[Container, ...] | None = None
    volumes: tuple[Volume, ...] | None = None
    node_name: str = ""
    hostname: str | None = None
    subdomain: str | None = None
    host_network: bool | None = None
    host_pid: bool | None = msgspec.field(name="hostPID", default=None)
    host_ipc: bool | None = msgspec.field(name="hostIPC", default=None)
    share_process_namespace: bool | None = None
    set_hostname_as_fqdn: bool | None = msgspec.field(name="setHostnameAsFQDN", default=None)
    restart_policy: RestartPolicy = RestartPolicy.ALWAYS
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    dns_policy: DnsPolicy = DnsPolicy.CLUSTER_FIRST
    dns_config: DnsConfig = DnsConfig()
    host_aliases: tuple[HostAlias, ...] | None = None
    enable_service_links: bool | None = None
    readiness_gates: tuple[ReadinessGate, ...] | None = None
    security_context: PodSecurityContext = PodSecurityContext()
    service_account_name: str = "default"
    os: PodOs | None = None


class PodMeta(_Part, frozen=True):
    name: str
    namespace: str = "default"
    uid: str = ""
    labels: Text | None = None
    annotations: Text | None = None
    resource_version: str = ""
    generation: int = 0
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: int | None = None


class PodCondition(_Part, frozen=True):
    type: str
    status: str = "Unknown"
    reason: str | None = None
    message: str | None = None
    last_transition_time: datetime | None = None


class TerminatedStatus(_Part, frozen=True):
    exit_code: int = 0
    reason: str | None = None
    message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    container_id: str = msgspec.field(name="containerID", default="")


class RunningStatus(_Part, frozen=True):
    started_at: datetime | None = None


class StateStatus(_Part, frozen=True):
    running: RunningStatus | None = None
    terminated: TerminatedStatus | None = None


class ContainerStatus(_Part, frozen=True):
    name: str
    restart_count: int = 0
    container_id: str = msgspec.field(name="containerID", default="")
    state: StateStatus = StateStatus()
    last_state: StateStatus = StateStatus()


class ObservedStatus(_Part, frozen=True):
    """What the API has of the status: conditions of others (readiness gates), and what ran before this node process."""

    phase: str = ""
    start_time: datetime | None = None
    conditions: tuple[PodCondition, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None
    ephemeral_container_statuses: tuple[ContainerStatus, ...] | None = None

    @property
    def all_containers(self) -> tuple[ContainerStatus, ...]:
        return (
            *(self.init_container_statuses or ()),
            *(self.container_statuses or ()),
            *(self.ephemeral_container_statuses or ()),
        )


class NodePod(_Part, frozen=True):
    """One pod as its node reads it."""

    metadata: PodMeta
    spec: PodSpec = PodSpec()
    status: ObservedStatus = ObservedStatus()

    @property
    def full_name(self) -> str:
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def host_name(self) -> str:
        """What `hostname` says in it: 63 characters at most, as kubelet cuts it."""
        return (self.spec.hostname or self.metadata.name)[:63].rstrip("-.")

    @property
    def all_containers(self) -> tuple[Container, ...]:
        """Init containers first, ephemeral ones last, each group in its order."""
        spec = self.spec
        return (*(spec.init_containers or ()), *spec.containers, *(spec.ephemeral_containers or ()))


_decoder: Final = msgspec.json.Decoder(NodePod)


def _decode(raw: Raw) -> NodePod:
    try:
        if isinstance(raw, dict):
            return msgspec.convert(raw, NodePod)
        return _decoder.decode(raw)  # type: ignore[arg-type]  # Mappings other than dict are not handed in
    except msgspec.MsgspecError as error:
        raise schema_error("Pod", raw, error) from None


NODE_POD: Final = Kind("Pod", "v1", "pods", True, _decode)
