/* Mutated queries against a table: built with the address and undefined behaviour sanitizers, any fault ends it.
 * usage: fuzz_fast NODES KEPT QUERIES ROUNDS   (files: packed nodes; kept answers, each with its length as u32 in front;
 * queries, each with its length as u16 in front) */
#include "fast.h"

#include <stdio.h>

static uint8_t *read_file(const char *path, size_t *size) {
  FILE *f = fopen(path, "rb");
  if (!f) exit(2);
  uint8_t *data = malloc(1 << 22);
  *size = fread(data, 1, 1 << 22, f);
  fclose(f);
  return data;
}

fw_table *fw_table_new(uint64_t seed);
void fw_table_free(fw_table *t);
int64_t fw_put(fw_table *t, const uint8_t *data, uint64_t size);
int fw_keep(fw_table *t, const uint8_t *data, uint32_t size);
int fw_zone(fw_table *t, uint32_t index, const uint8_t *name, uint32_t length, uint32_t flags, uint32_t ttl,
            uint32_t minimum, uint32_t serial, uint32_t row);
size_t fw_answer(fw_table *t, const uint8_t *data, size_t size, uint8_t *out, size_t room, uint64_t seed, uint64_t now,
                 int *refresh);

static int refresh;

static fw_table *filled(const uint8_t *nodes, size_t nodes_size, const uint8_t *kept, size_t kept_size) {
  fw_table *t = fw_table_new(88172645463325252u);
  fw_put(t, nodes, nodes_size);
  fw_zone(t, 0, (const uint8_t *)"\007cluster\005local", 15, ZONE_CLOSED, 5, 5, 1, 0);
  for (size_t at = 0; at + 4 <= kept_size;) {
    uint32_t size;
    memcpy(&size, kept + at, 4);
    if (size > kept_size - at - 4) break;
    uint8_t *exact = malloc(size ? size : 1);
    memcpy(exact, kept + at + 4, size);
    fw_keep(t, exact, size);
    free(exact);
    at += 4 + size;
  }
  return t;
}

static uint8_t *broken(const uint8_t *data, size_t size, uint64_t *random) {
  uint8_t *copy = malloc(size);
  memcpy(copy, data, size);
  for (int n = 0; n < 8; n++) copy[next_random(random) % size] = (uint8_t)next_random(random);
  return copy;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  size_t nodes_size, kept_size, queries_size;
  uint8_t *nodes = read_file(argv[1], &nodes_size), *kept = read_file(argv[2], &kept_size);
  uint8_t *queries = read_file(argv[3], &queries_size);
  fw_table *t = filled(nodes, nodes_size, kept, kept_size);
  uint64_t random = 88172645463325252u, answered = 0;
  for (long rounds = atol(argv[4]), i = 0; i < rounds; i++) {
    size_t at = 0, skip = next_random(&random) % 160;
    for (size_t k = 0; k < skip; k++) at = at + 2 + le16(queries + at) >= queries_size ? 0 : at + 2 + le16(queries + at);
    size_t size = le16(queries + at);
    uint8_t *copy = malloc(size + 8), *out = malloc(REPLY_SIZE); /* exact sizes, so that a byte too far is seen */
    memcpy(copy, queries + at + 2, size);
    for (unsigned n = next_random(&random) % 4; n; n--) copy[next_random(&random) % size] = (uint8_t)next_random(&random);
    if (next_random(&random) % 4 == 0) size = next_random(&random) % (size + 1);
    uint8_t *exact = malloc(size ? size : 1);
    memcpy(exact, copy, size);
    uint64_t now = next_random(&random) % 64 * SECOND;
    size_t length = fw_answer(t, exact, size, out, REPLY_SIZE, random, now, &refresh);
    if (length) {
      answered++;
      size_t limit = be16(exact + 10) ? 4096 : 512;
      if (length > 65535 || (length > limit && length > REPLY_SIZE)) abort();
      if (out[0] != exact[0] || out[1] != exact[1] || !(out[2] & 0x80)) abort();
    }
    if (i % 1000 == 0) { /* broken nodes and answers must be refused or taken whole */
      uint8_t *bad_nodes = broken(nodes, nodes_size, &random), *bad_kept = broken(kept, kept_size, &random);
      fw_table *other = filled(bad_nodes, nodes_size, bad_kept, kept_size);
      for (size_t k = 0; k + 2 <= queries_size; k += 2 + le16(queries + k))
        fw_answer(other, queries + k + 2, le16(queries + k), out, REPLY_SIZE, random, now, &refresh);
      fw_table_free(other);
      free(bad_nodes), free(bad_kept);
    }
    free(copy), free(exact), free(out);
  }
  printf("%llu\n", (unsigned long long)answered);
  fw_table_free(t);
  free(nodes), free(kept), free(queries);
  return 0;
}
