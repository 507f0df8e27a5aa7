"""The functions of rules, by subject: cel-go's standard ones, its extensions, and those of k8s.io/apiserver/pkg/cel."""
