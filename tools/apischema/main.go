// Command apischema prints, as JSON, what the Go types of the Kubernetes API say about their fields:
// JSON name, type, omitempty, pointer, protobuf number, patch strategy and merge key. tools/apischema/build.py
// joins that with the OpenAPI documents of a real kube-apiserver into the data files of fairway.apiserver.
package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strconv"
	"strings"

	admission "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	authn "k8s.io/api/authentication/v1"
	authz "k8s.io/api/authorization/v1"
	autoscaling "k8s.io/api/autoscaling/v1"
	autoscaling2 "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	certificates "k8s.io/api/certificates/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	events "k8s.io/api/events/v1"
	networking "k8s.io/api/networking/v1"
	node "k8s.io/api/node/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	scheduling "k8s.io/api/scheduling/v1"
	storage "k8s.io/api/storage/v1"
	extensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	registration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

var special = map[reflect.Type]string{
	reflect.TypeOf(meta.Time{}):             "time",
	reflect.TypeOf(meta.MicroTime{}):        "microtime",
	reflect.TypeOf(meta.Duration{}):         "duration",
	reflect.TypeOf(resource.Quantity{}):     "quantity",
	reflect.TypeOf(intstr.IntOrString{}):    "intorstr",
	reflect.TypeOf(meta.FieldsV1{}):         "json",
	reflect.TypeOf(runtime.RawExtension{}):  "json",
	reflect.TypeOf(extensions.JSON{}):       "json",
	reflect.TypeOf(extensions.JSONSchemaProps{}): "json",
}

type field struct {
	name, goName, typ, strategy, mergeKey string
	omit, pointer, inline                 bool
	number                                int
}

var types = map[string][]any{}

func name(t reflect.Type) string {
	pkg := strings.Split(t.PkgPath(), "/")
	if len(pkg) < 2 {
		return t.Name()
	}
	if pkg[len(pkg)-1] == "v2" {
		return pkg[len(pkg)-2] + "v2." + t.Name()
	}
	return pkg[len(pkg)-2] + "." + t.Name()
}

func typeOf(t reflect.Type) string {
	if s, ok := special[t]; ok {
		return s
	}
	switch t.Kind() {
	case reflect.Ptr:
		return typeOf(t.Elem())
	case reflect.String:
		return "s"
	case reflect.Int32, reflect.Uint32:
		return "i"
	case reflect.Int64, reflect.Int:
		return "l"
	case reflect.Bool:
		return "b"
	case reflect.Float64, reflect.Float32:
		return "f"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "y"
		}
		return "[" + typeOf(t.Elem())
	case reflect.Map:
		return "{" + typeOf(t.Elem())
	case reflect.Struct:
		visit(t)
		return "#" + name(t)
	}
	panic(t.String())
}

func visit(t reflect.Type) {
	if _, ok := types[name(t)]; ok {
		return
	}
	types[name(t)] = nil
	out := []any{}
	for i := 0; i < t.NumField(); i++ {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("json")
		if !ok || !f.IsExported() {
			continue
		}
		parts := strings.Split(tag, ",")
		if parts[0] == "-" {
			continue
		}
		flags := 0
		for _, p := range parts[1:] {
			switch p {
			case "omitempty":
				flags |= 1
			case "omitzero":
				flags |= 8
			case "inline":
				flags |= 4
			}
		}
		if parts[0] == "" && f.Anonymous {
			flags |= 4
		}
		if f.Type.Kind() == reflect.Ptr {
			flags |= 2
		}
		number := 0
		if pb := strings.Split(f.Tag.Get("protobuf"), ","); len(pb) > 1 {
			number, _ = strconv.Atoi(pb[1])
		}
		out = append(out, []any{parts[0], f.Name, typeOf(f.Type), flags, number, f.Tag.Get("patchStrategy"), f.Tag.Get("patchMergeKey")})
	}
	types[name(t)] = out
}

func main() {
	roots := []any{
		core.Namespace{}, core.Node{}, core.Pod{}, core.PodTemplate{}, core.Service{}, core.Endpoints{}, core.ConfigMap{}, core.Secret{},
		core.ServiceAccount{}, core.Event{}, core.ReplicationController{}, core.Binding{}, core.PersistentVolume{}, core.PersistentVolumeClaim{}, core.LimitRange{}, core.ResourceQuota{},
		apps.Deployment{}, apps.ReplicaSet{}, apps.StatefulSet{}, apps.DaemonSet{}, apps.ControllerRevision{},
		discovery.EndpointSlice{}, networking.Ingress{}, networking.IngressClass{}, networking.NetworkPolicy{},
		networking.ServiceCIDR{}, networking.IPAddress{}, coordination.Lease{}, events.Event{}, autoscaling.Scale{},
		policy.Eviction{}, policy.PodDisruptionBudget{}, authn.TokenRequest{}, authn.TokenReview{}, authn.SelfSubjectReview{},
		authz.SubjectAccessReview{}, authz.SelfSubjectAccessReview{}, authz.LocalSubjectAccessReview{}, authz.SelfSubjectRulesReview{},
		rbac.Role{}, rbac.RoleBinding{}, rbac.ClusterRole{}, rbac.ClusterRoleBinding{},
		admission.ValidatingWebhookConfiguration{}, admission.MutatingWebhookConfiguration{}, registration.APIService{},
		autoscaling.HorizontalPodAutoscaler{}, autoscaling2.HorizontalPodAutoscaler{}, batch.Job{}, batch.CronJob{},
		certificates.CertificateSigningRequest{}, node.RuntimeClass{}, scheduling.PriorityClass{},
		storage.StorageClass{}, storage.CSINode{}, storage.CSIDriver{},
		extensions.CustomResourceDefinition{}, meta.DeleteOptions{}, meta.Status{}, meta.PartialObjectMetadata{},
	}
	for _, r := range roots {
		visit(reflect.TypeOf(r))
	}
	enc := json.NewEncoder(os.Stdout)
	if err := enc.Encode(types); err != nil {
		panic(err)
	}
}
