# Each target works from a fresh clone. `make up` and `make test` are all that the README asks for.
.PHONY: bench-api bench-dns help setup up test test-slow lint lock bench-sync bench-conntrack peers nft-versions test-peers test-official test-floor
.DEFAULT_GOAL := help
PY := .venv/bin/python

help:           ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

setup:          ## system packages that are missing, and .venv
	@tools/setup

up: setup       ## a cluster of three nodes, a Service of each type at work, the path of one explained
	@.venv/bin/fairway up --demo $(ARGS)

lint: setup     ## ruff, mypy strict, import rules
	@.venv/bin/ruff check src tests bench
	@.venv/bin/ruff format --check src tests bench
	@.venv/bin/mypy
	@.venv/bin/lint-imports

test: lint      ## lint, then every test that needs no peers
	@$(PY) -m pytest $(ARGS)

test-slow: setup ## what takes minutes: 200 crashes under load, 10⁵ fuzzed requests
	@$(PY) -m pytest -m slow --timeout 3600 $(ARGS)

bench-sync: setup ## cold start, change, burst, memory, first connect; a table in docs/performance.md
	@$(PY) bench/sync.py $(ARGS)

bench-conntrack: setup ## removing stale UDP flows beside 20,000 others; a table in docs/performance.md
	@$(PY) bench/conntrack.py $(ARGS)

bench-api: setup ## the API server beside kube-apiserver: writes, reads, watches, lists, memory, start
	@$(PY) bench/api.py $(ARGS)

bench-cluster: setup ## `fairway up`: time until ready, memory, 100 pods, a new pod until it is reached; a table in docs/performance.md
	@$(PY) bench/cluster.py $(ARGS)

bench-dns: setup ## the DNS server beside CoreDNS: CPU a query, memory, start, change to answer
	@$(PY) bench/dns.py --write $(ARGS)

peers: setup    ## the real kube-proxy, kube-apiserver and others, from their Go modules, into .peers/
	@tools/peers .peers $(ARGS)

nft-versions:   ## other Debian releases' nft into .peers/nft/, for the listing tests; installs nothing
	@tools/nft-versions .peers/nft

test-peers: setup ## our parts beside the real ones, in whatever folder of tests/
	@$(PY) -m pytest -m 'peers and not slow' $(ARGS)

test-official: setup ## the official suite on `fairway up`: GROUP=conformance,network,…; writes docs/conformance.md
	@tools/official $(GROUP) $(ARGS)

test-floor: setup ## tests of the nftables writer on Debian 12's own kernel 6.1, in a virtual machine (qemu-system-x86)
	@tools/floor .peers/floor $(PY) -m pytest -p no:cacheprovider --timeout 1200 $(or $(ARGS),tests/kernel/test_nftables_contract.py)

lock: setup     ## write the lock files anew from pyproject.toml
	@.venv/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header -q -o requirements.lock
	@.venv/bin/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header -q -o requirements-dev.lock
