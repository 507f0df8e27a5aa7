/* Mutated queries against a table: built with the address and undefined behaviour sanitizers, any fault ends it.
 * usage: fuzz_fast NODES QUERIES ROUNDS   (files: packed nodes; queries, each with its length as u16 in front) */
#include "../../../src/fairway/io/dns/fast.c"

#include <stdio.h>

static uint8_t *read_file(const char *path, size_t *size) {
  FILE *f = fopen(path, "rb");
  if (!f) exit(2);
  uint8_t *data = malloc(1 << 22);
  *size = fread(data, 1, 1 << 22, f);
  fclose(f);
  return data;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  size_t nodes_size, queries_size;
  uint8_t *nodes = read_file(argv[1], &nodes_size), *queries = read_file(argv[2], &queries_size);
  fw_table *t = fw_table_new();
  fw_put(t, nodes, nodes_size);
  fw_zone(t, 0, (const uint8_t *)"\007cluster\005local", 15, ZONE_CLOSED, 5, 5, 1);
  uint64_t random = 88172645463325252u, answered = 0;
  for (long rounds = atol(argv[3]), i = 0; i < rounds; i++) {
    size_t at = 0, skip = next_random(&random) % 64;
    for (size_t k = 0; k < skip; k++) at = at + 2 + le16(queries + at) >= queries_size ? 0 : at + 2 + le16(queries + at);
    size_t size = le16(queries + at);
    uint8_t *copy = malloc(size + 8), *out = malloc(REPLY_SIZE); /* exact sizes, so that a byte too far is seen */
    memcpy(copy, queries + at + 2, size);
    for (unsigned n = next_random(&random) % 4; n; n--) copy[next_random(&random) % size] = (uint8_t)next_random(&random);
    if (next_random(&random) % 4 == 0) size = next_random(&random) % (size + 1);
    uint8_t *exact = malloc(size ? size : 1);
    memcpy(exact, copy, size);
    size_t length = fw_answer(t, exact, size, out, REPLY_SIZE, random);
    if (length) {
      answered++;
      size_t limit = be16(exact + 10) ? 4096 : 512;
      if (length > 65535 || (length > limit && length > REPLY_SIZE)) abort();
      if (out[0] != exact[0] || out[1] != exact[1] || !(out[2] & 0x80)) abort();
    }
    if (i % 1000 == 0) { /* broken nodes must be refused or taken whole */
      uint8_t *broken = malloc(nodes_size);
      memcpy(broken, nodes, nodes_size);
      for (int n = 0; n < 8; n++) broken[next_random(&random) % nodes_size] = (uint8_t)next_random(&random);
      fw_table *other = fw_table_new();
      fw_put(other, broken, nodes_size);
      fw_zone(other, 0, (const uint8_t *)"\007cluster\005local", 15, ZONE_CLOSED, 5, 5, 1);
      fw_answer(other, exact, size, out, REPLY_SIZE, random);
      fw_table_free(other);
      free(broken);
    }
    free(copy), free(exact), free(out);
  }
  printf("%llu\n", (unsigned long long)answered);
  fw_table_free(t);
  free(nodes), free(queries);
  return 0;
}
